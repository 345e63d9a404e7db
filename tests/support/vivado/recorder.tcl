# SPDX-License-Identifier: Apache-2.0
# Stands in for Vivado: tclsh recorder.tcl -mode batch -source build.tcl. It knows the commands that the scripts may use, their
# options, what they need before them, and what each IP has; anything else is an error, as it is in Vivado or stricter.
# What was made is written to the file that VIVADO_RECORD names; VIVADO_RECORDER is a dict of what to act out.
#
# An object is "kind:name", where Vivado prints the name alone, so that a name where an object is wanted is an error too.

namespace eval recorder {}
set recorder::here [file dirname [file normalize [info script]]]
set recorder::act {version 2020.2 wns 0.512 whs 0.021 tpws 0.000 stop {} lacks {} infers 1}
if {[info exists env(VIVADO_RECORDER)]} {
    set recorder::act [dict merge $recorder::act $env(VIVADO_RECORDER)]
}
set recorder::record {}

proc note {args} {
    lappend ::recorder::record [join $args \t]
}

# Returns the options of a command, as a dict, and its other arguments.
proc options {command allowed arguments} {
    set found {}
    set rest {}
    while {[llength $arguments]} {
        set arguments [lassign $arguments word]
        if {![string match {-[a-z]*} $word]} {
            lappend rest $word
        } elseif {![dict exists $allowed $word]} {
            error "$command: unknown option $word"
        } elseif {[dict get $allowed $word] eq "flag"} {
            dict set found $word 1
        } elseif {![llength $arguments]} {
            error "$command: $word needs a value"
        } else {
            set arguments [lassign $arguments value]
            dict set found $word $value
        }
    }
    return [list $found $rest]
}

# Returns the name of an object of a kind.
proc named {kind object} {
    if {[string match $kind:* $object]} {
        return [string range $object [string length $kind:] end]
    }
    error "a $kind is wanted, not {$object}"
}

proc only {command count arguments} {
    if {[llength $arguments] != $count} {
        error "$command takes $count arguments, not {$arguments}"
    }
}

foreach part {catalogue project ipx block_design validation runs reports} {
    source [file join $recorder::here $part.tcl]
}

proc version {args} {
    lassign [options version {-short flag} $args] found rest
    return [expr {[dict exists $found -short] ? [dict get $::recorder::act version] : "Vivado v[dict get $::recorder::act version] (64-bit)"}]
}

rename exit leave
proc exit {{code 0}} {
    if {[info exists ::env(VIVADO_RECORD)]} {
        set file [open $::env(VIVADO_RECORD) w]
        puts -nonewline $file [join $::recorder::record \n]
        close $file
    }
    leave $code
}

if {$argv eq "-version"} {
    puts "Vivado v[dict get $recorder::act version] (64-bit)"
    exit
}
lassign [options vivado {-mode value -source value} $argv] found rest
if {$rest ne "" || [dict get $found -mode] ne "batch"} {
    puts "ERROR: vivado: $argv"
    exit 1
}
if {[catch {source [dict get $found -source]} message]} {
    puts "ERROR: $message"
    puts $::errorInfo
    exit 1
}
exit
