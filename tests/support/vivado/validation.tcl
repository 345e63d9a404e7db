# SPDX-License-Identifier: Apache-2.0
# The check of a whole block design.

# Errors for what Vivado warns of too: whatever is not connected, not mapped, or between two clocks.
proc validate_bd_design {} {
    need_design validate_bd_design
    dict for {cell vlnv} $::recorder::cells {
        foreach pin [parts_of $cell pins 3] {
            lassign $pin name direction type
            if {$direction eq "I" && $type ne "free" && ![dict exists $::recorder::drivers $cell/$name]} {
                error "validate_bd_design: $cell/$name is not connected"
            }
        }
        foreach interface [parts_of $cell interfaces 5] {
            validate_interface $cell $interface
        }
        foreach space [parts_of $cell spaces 4] {
            validate_space $cell $space
        }
    }
    set ::recorder::design_valid 1
}

proc validate_interface {cell interface} {
    lassign $interface name mode kind clock width
    if {![dict exists $::recorder::links $cell/$name]} {
        error "validate_bd_design: $cell/$name is not connected"
    }
    set other [dict get $::recorder::links $cell/$name]
    if {[dict exists $::recorder::ports $other]} {
        return
    }
    lassign [find interfaces 5 $other] - - other_clock other_width
    if {$width && $other_width && $width != $other_width} {
        error "validate_bd_design: $cell/$name has $width bits, $other $other_width"
    }
    if {[dict get $::recorder::drivers $cell/$clock] ne [dict get $::recorder::drivers [lindex [split $other /] 0]/$other_clock]} {
        error "validate_bd_design: $cell/$name and $other have two clocks"
    }
}

proc validate_space {cell space} {
    foreach slave [reached $cell/[lindex $space 1]] {
        lassign [split $slave /] other interface
        foreach segment [parts_of $other segments 3] {
            if {[lindex $segment 1] eq $interface && ![dict exists $::recorder::mapped [list $cell/[lindex $space 0] $other/[lindex $segment 0]]]} {
                error "validate_bd_design: $other/[lindex $segment 0] is not mapped into $cell/[lindex $space 0]"
            }
        }
    }
}
