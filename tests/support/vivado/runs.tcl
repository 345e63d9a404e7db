# SPDX-License-Identifier: Apache-2.0
# Synthesis and implementation: nothing is computed, but what a run leaves is there afterwards.

set recorder::runs {synth_1 {PROGRESS 0% STATUS {Not started}} impl_1 {PROGRESS 0% STATUS {Not started}}}
set recorder::launched {}
set recorder::opened {}

proc make_wrapper {args} {
    lassign [options make_wrapper {-files value -top flag} $args] found rest
    set name [file rootname [named file [dict get $found -files]]]
    set folder [file join $::recorder::project_folder $::recorder::project.gen sources_1 bd $name hdl]
    file mkdir $folder
    set path [file join $folder ${name}_wrapper.v]
    set file [open $path w]
    puts $file "module ${name}_wrapper ();\nendmodule"
    close $file
    return $path
}

proc get_runs {name} {
    need_project get_runs
    if {![dict exists $::recorder::runs $name]} {
        error "get_runs: there is no run $name"
    }
    return run:$name
}

proc launch_runs {args} {
    need_project launch_runs
    lassign [options launch_runs {-to_step value -jobs value} $args] found rest
    if {$rest ne "impl_1" || [dict get $found -to_step] ne "write_bitstream" || $::recorder::top ne "${::recorder::design}_wrapper" || !$::recorder::design_saved} {
        error "launch_runs: impl_1 needs a saved block design and its wrapper as top, and ends with write_bitstream"
    }
    set ::recorder::launched impl_1
}

proc wait_on_run {name} {
    if {$name ne $::recorder::launched} {
        error "wait_on_run: $name was not launched"
    }
    foreach run {synth_1 impl_1} {
        if {$run eq [dict get $::recorder::act stop]} {
            dict set ::recorder::runs $run {PROGRESS 0% STATUS {synth_design ERROR}}
            return
        }
        dict set ::recorder::runs $run {PROGRESS 100% STATUS {write_bitstream Complete!}}
    }
    write_results
}

proc run_property {run name} {
    switch -- $name {
        PROGRESS - STATUS {return [dict get $::recorder::runs $run $name]}
        DIRECTORY {return [file normalize [file join $::recorder::project_folder $::recorder::project.runs $run]]}
        STATS.WNS - STATS.WHS - STATS.TPWS {
            if {[dict get $::recorder::runs $run PROGRESS] eq "100%"} {
                return [dict get $::recorder::act [string tolower [string range $name 6 end]]]
            }
        }
    }
    error "get_property: the run $run has no $name"
}

proc open_run {name} {
    if {[dict get $::recorder::runs $name PROGRESS] ne "100%"} {
        error "open_run: $name has not come to its end"
    }
    set ::recorder::opened $name
}

proc report {command allowed arguments text} {
    lassign [options $command [dict merge {-file value} $allowed] $arguments] found rest
    only $command 0 $rest
    if {$::recorder::opened eq ""} {
        error "$command: no design is open"
    }
    set file [open [dict get $found -file] w]
    puts $file $text
    close $file
}

proc report_timing_summary {args} {
    report report_timing_summary {-max_paths value} $args [timing_report]
}

proc report_utilization {args} {
    report report_utilization {-hierarchical flag} $args [utilization_report]
}

proc report_power {args} {
    report report_power {} $args [power_report]
}
