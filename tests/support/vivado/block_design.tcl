# SPDX-License-Identifier: Apache-2.0
# The block design: cells, what connects them, and addresses.

set recorder::design {}
set recorder::design_valid 0
set recorder::design_saved 0
set recorder::cells {}   ;# name -> vlnv
set recorder::config {}  ;# name -> properties
set recorder::ports {}   ;# external interfaces: name -> kind
set recorder::drivers {} ;# input pin -> output pin
set recorder::links {}   ;# interface -> the interface that it is connected with
set recorder::mapped {}  ;# {space segment} -> {offset size}, or nothing where it is excluded

proc need_design {command} {
    if {$::recorder::design eq ""} {
        error "$command: no block design is open"
    }
}

# What changes the design has it validated and saved again.
proc change_design {command} {
    need_design $command
    set ::recorder::design_valid 0
    set ::recorder::design_saved 0
}

proc create_bd_design {name} {
    need_project create_bd_design
    set ::recorder::design $name
}

proc create_bd_cell {args} {
    change_design create_bd_cell
    lassign [options create_bd_cell {-type value -vlnv value} $args] found rest
    only create_bd_cell 1 $rest
    set name [lindex $rest 0]
    set vlnv [regsub ^ipdef: [dict get $found -vlnv] {}]
    if {![dict exists $::recorder::catalogue $vlnv]} {
        error "create_bd_cell: there is no IP $vlnv"
    }
    set type [expr {[string match *:inline_hdl:* $vlnv] ? "inline_hdl" : "ip"}]
    if {[dict get $found -type] ne $type || [dict exists $::recorder::cells $name]} {
        error "create_bd_cell: $name must be a new cell of type $type"
    }
    if {![llength [lmap part [dict get $::recorder::catalogue $vlnv parts] {expr {[string match $part $::recorder::part_of_project] ? 1 : [continue]}}]]} {
        error "create_bd_cell: $::recorder::part_of_project has no $vlnv"
    }
    dict set ::recorder::cells $name $vlnv
    dict set ::recorder::config $name [dict get $::recorder::catalogue $vlnv properties]
    note cell $name $vlnv
    return bd_cell:/$name
}

proc get_bd_cells {name} {
    need_design get_bd_cells
    if {![dict exists $::recorder::cells $name]} {
        error "get_bd_cells: there is no cell $name"
    }
    return bd_cell:/$name
}

proc configure {cell name value} {
    change_design set_property
    set cell [string trimleft $cell /]
    if {![dict exists $::recorder::config $cell $name] || [string match *_ACT_* $name]} {
        error "set_property: $cell has no property CONFIG.$name that can be set"
    }
    set ranges [dict get $::recorder::catalogue [dict get $::recorder::cells $cell] ranges]
    if {[dict exists $ranges $name]} {
        lassign [dict get $ranges $name] least most
        if {!($value >= $least && $value <= $most)} {
            error "set_property: CONFIG.$name of $cell must be $least to $most, not $value"
        }
    } elseif {[dict get $::recorder::config $cell $name] in {0 1} && $value ni {0 1}} {
        error "set_property: CONFIG.$name of $cell must be 0 or 1, not $value"
    }
    dict set ::recorder::config $cell $name $value
    foreach {asked reached} {
        PCW_FPGA0_PERIPHERAL_FREQMHZ PCW_ACT_FPGA0_PERIPHERAL_FREQMHZ
        PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ PSU__CRL_APB__PL0_REF_CTRL__ACT_FREQMHZ
    } {
        if {$name eq $asked} { ;# a divider of a PLL, so not above what is asked for
            set pll [expr {[string match PCW* $name] ? 1000.0 : 1499.985}]
            dict set ::recorder::config $cell $reached [format %.6f [expr {$pll / ceil($pll / $value - 1e-3)}]]
        }
    }
    note config $cell $name $value
}

proc configuration {cell name} {
    return [dict get $::recorder::config [string trimleft $cell /] $name]
}

# Returns what a cell has of a kind (pins, interfaces, spaces, segments) with its properties as they are.
proc parts_of {cell kind fields} {
    set found {}
    dict with ::recorder::config $cell {}
    foreach part [dict get $::recorder::catalogue [dict get $::recorder::cells $cell] $kind] {
        set condition [lindex $part $fields]
        if {$condition eq "" || [expr $condition]} {
            lappend found [lmap field [lrange $part 0 $fields-1] {expr {[string match *\$* $field] ? [expr $field] : $field}}]
        }
    }
    return $found
}

# Returns what an object of a kind is that is called cell/name.
proc find {kind fields path} {
    if {![regexp {^([^/]+)/(.+)$} $path -> cell name] || ![dict exists $::recorder::cells $cell]} {
        error "there is no cell for $path"
    }
    foreach part [parts_of $cell $kind $fields] {
        if {[lindex $part 0] eq $name} {
            return [lrange $part 1 end]
        }
    }
    error "cell $cell ([dict get $::recorder::cells $cell]) has no $name among its $kind"
}

proc get_bd_pins {path} {
    need_design get_bd_pins
    find pins 3 $path
    return bd_pin:/$path
}

proc get_bd_intf_pins {path} {
    need_design get_bd_intf_pins
    find interfaces 5 $path
    return bd_intf_pin:/$path
}

proc create_bd_intf_port {args} {
    change_design create_bd_intf_port
    lassign [options create_bd_intf_port {-mode value -vlnv value} $args] found rest
    only create_bd_intf_port 1 $rest
    if {![regexp {^xilinx.com:(?:interface|display_processing_system7):(\w+)_rtl:1.0$} [dict get $found -vlnv] -> kind]} {
        error "create_bd_intf_port: there is no interface [dict get $found -vlnv]"
    }
    dict set ::recorder::ports [lindex $rest 0] [list [dict get $found -mode] $kind]
    return bd_intf_port:/[lindex $rest 0]
}

proc connect_bd_net {args} {
    change_design connect_bd_net
    lassign [options connect_bd_net {-net value} $args] found rest
    only connect_bd_net 2 $rest
    lassign [lmap pin $rest {string trimleft [named bd_pin $pin] /}] driver pin
    lassign [find pins 3 $driver] from from_type
    lassign [find pins 3 $pin] to to_type
    if {"$from $to" ne "O I"} {
        error "connect_bd_net: $driver must be an output and $pin an input"
    }
    if {$to_type ne "free" && $from_type ne $to_type} {
        error "connect_bd_net: $driver is of type $from_type, $pin of type $to_type"
    }
    if {[dict exists $::recorder::drivers $pin]} {
        error "connect_bd_net: $pin is driven by [dict get $::recorder::drivers $pin] already"
    }
    dict set ::recorder::drivers $pin $driver
    note net $driver $pin
}

proc connect_bd_intf_net {args} {
    change_design connect_bd_intf_net
    lassign [options connect_bd_intf_net {-intf_net value} $args] found rest
    only connect_bd_intf_net 2 $rest
    set ends {}
    foreach object $rest {
        if {[string match bd_intf_port:* $object]} {
            set name [string trimleft [named bd_intf_port $object] /]
            lassign [dict get $::recorder::ports $name] mode kind
            set mode [dict get {Master Slave Slave Master} $mode] ;# seen from inside
        } else {
            set name [string trimleft [named bd_intf_pin $object] /]
            lassign [find interfaces 5 $name] mode kind
        }
        if {[dict exists $::recorder::links $name]} {
            error "connect_bd_intf_net: $name is connected with [dict get $::recorder::links $name] already"
        }
        lappend ends $name $mode $kind
    }
    lassign $ends one one_mode one_kind other other_mode other_kind
    if {$one_mode eq $other_mode || $one_kind ne $other_kind} {
        error "connect_bd_intf_net: $one is a $one_mode of $one_kind, $other a $other_mode of $other_kind"
    }
    dict set ::recorder::links $one $other
    dict set ::recorder::links $other $one
    note interface $one $other
}

proc get_bd_addr_spaces {path} {
    need_design get_bd_addr_spaces
    find spaces 4 $path
    return bd_addr_space:/$path
}

proc get_bd_addr_segs {pattern} {
    need_design get_bd_addr_segs
    set found {}
    dict for {cell vlnv} $::recorder::cells {
        foreach segment [parts_of $cell segments 3] {
            if {[string match $pattern $cell/[lindex $segment 0]]} {
                lappend found bd_addr_seg:/$cell/[lindex $segment 0]
            }
        }
    }
    if {![llength $found]} {
        error "get_bd_addr_segs: there is no segment $pattern"
    }
    return $found
}

# Returns the interfaces that a master reaches, through smartconnects.
proc reached {interface} {
    if {![dict exists $::recorder::links $interface]} {
        return {}
    }
    set slave [dict get $::recorder::links $interface]
    lassign [split $slave /] cell name
    if {![string match xilinx.com:ip:smartconnect:* [dict get $::recorder::cells $cell]]} {
        return [list $slave]
    }
    set found {}
    foreach other [parts_of $cell interfaces 5] {
        if {[lindex $other 1] eq "Master"} {
            lappend found {*}[reached $cell/[lindex $other 0]]
        }
    }
    return $found
}

# Checks that a space reaches a segment, and returns their names, the space's limits and the segment's size.
proc space_and_segment {space segment} {
    set space [string trimleft [named bd_addr_space $space] /]
    set segment [string trimleft [named bd_addr_seg $segment] /]
    lassign [find spaces 4 $space] master first last
    lassign [find segments 3 $segment] slave size
    if {"[lindex [split $segment /] 0]/$slave" ni [reached [lindex [split $space /] 0]/$master]} {
        error "$space does not reach $segment"
    }
    return [list $space $segment $first $last $size]
}

proc assign_bd_address {args} {
    change_design assign_bd_address
    set allowed {-offset value -range value -target_address_space value -force flag}
    lassign [options assign_bd_address $allowed $args] found rest
    only assign_bd_address 1 $rest
    lassign [space_and_segment [dict get $found -target_address_space] [lindex $rest 0]] space segment first last most
    set offset [expr {[dict get $found -offset]}]
    set size [expr {[dict get $found -range]}]
    if {$size < 4096 || $size & ($size - 1) || $offset % $size || $offset < $first || $offset + $size - 1 > $last || $size > $most} {
        error "assign_bd_address: $segment cannot be at $offset, $size bytes"
    }
    dict for {key range} $::recorder::mapped {
        lassign $range other length
        if {[lindex $key 0] eq $space && $length ne "" && $offset < $other + $length && $other < $offset + $size} {
            error "assign_bd_address: $segment overlaps with [lindex $key 1]"
        }
    }
    dict set ::recorder::mapped [list $space $segment] [list $offset $size]
    note address $space $segment $offset $size
}

proc exclude_bd_addr_seg {args} {
    change_design exclude_bd_addr_seg
    lassign [options exclude_bd_addr_seg {-target_address_space value} $args] found rest
    only exclude_bd_addr_seg 1 $rest
    lassign [space_and_segment [dict get $found -target_address_space] [lindex $rest 0]] space segment
    dict set ::recorder::mapped [list $space $segment] {}
}

proc save_bd_design {} {
    if {!$::recorder::design_valid} {
        error "save_bd_design: the design has changed since it was validated"
    }
    set ::recorder::design_saved 1
}
