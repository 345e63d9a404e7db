# SPDX-License-Identifier: Apache-2.0
# Projects, their files, and the properties of everything.

set recorder::parts {xc7z020clg400-1 xc7z045ffg900-2 xczu3eg-sbva484-1-i xczu7ev-ffvc1156-2-e xck26-sfvc784-2LV-c}
set recorder::project {}
set recorder::files {}
set recorder::top {}
set recorder::repository {}

proc need_project {command} {
    if {$::recorder::project eq ""} {
        error "$command: no project is open"
    }
}

proc create_project {args} {
    lassign [options create_project {-force flag -part value} $args] found rest
    only create_project 2 $rest
    if {$::recorder::project ne ""} {
        error "create_project: $::recorder::project is open"
    }
    if {[dict get $found -part] ni $::recorder::parts} {
        error "create_project: there is no part [dict get $found -part]"
    }
    lassign $rest ::recorder::project folder
    set ::recorder::part_of_project [dict get $found -part]
    set ::recorder::project_folder $folder
    set ::recorder::files {}
    set ::recorder::top {}
    set ::recorder::repository {}
    file mkdir $folder
    note project $::recorder::project $::recorder::part_of_project
    return project:$::recorder::project
}

proc close_project {} {
    need_project close_project
    set ::recorder::project {}
    set ::recorder::core {}
}

proc current_project {} {
    need_project current_project
    return project:$::recorder::project
}

proc current_fileset {} {
    need_project current_fileset
    return fileset:sources_1
}

proc add_files {args} {
    need_project add_files
    lassign [options add_files {-norecurse flag -fileset value} $args] found rest
    only add_files 1 $rest
    foreach file [lindex $rest 0] {
        if {![file isfile $file]} {
            error "add_files: there is no file $file"
        }
        lappend ::recorder::files $file
    }
}

proc get_files {name} {
    need_project get_files
    if {$name eq "$::recorder::design.bd" && $::recorder::design_saved} {
        return file:$name
    }
    error "get_files: no file is called $name"
}

proc update_compile_order {args} {
    need_project update_compile_order
    lassign [options update_compile_order {-fileset value} $args] found rest
    only update_compile_order 0 $rest
    if {[dict get $found -fileset] ne "sources_1" || $::recorder::top eq ""} {
        error "update_compile_order: the fileset must be sources_1 and have a top"
    }
}

proc update_ip_catalog {args} {
    need_project update_ip_catalog
    lassign [options update_ip_catalog {-rebuild flag} $args] found rest
    if {$::recorder::repository eq ""} {
        error "update_ip_catalog: there is no repository"
    }
    foreach folder $::recorder::repository {
        if {![file exists [file join $folder component.xml]]} {
            error "update_ip_catalog: no IP is in {$folder}"
        }
        set file [open [file join $folder component.xml]]
        set description [read $file]
        close $file
        if {[dict exists $::recorder::catalogue [lindex $description 0]]} {
            error "update_ip_catalog: there are two IPs [lindex $description 0]"
        }
        ip {*}$description
    }
}

proc get_ipdefs {args} {
    need_project get_ipdefs
    lassign [options get_ipdefs {-all flag -filter value} $args] found rest
    if {![regexp {^VLNV =~ (\S+)$} [dict get $found -filter] -> pattern]} {
        error "get_ipdefs: {[dict get $found -filter]} is no filter of VLNV"
    }
    set objects {}
    foreach vlnv [lreverse [dict keys $::recorder::catalogue $pattern]] {
        if {[lindex [split $vlnv :] 2] ni [dict get $::recorder::act lacks]} {
            lappend objects ipdef:$vlnv
        }
    }
    return $objects
}

# What may be set of what, beside a cell's CONFIG and the parts of a core.
proc set_property {args} {
    need_project set_property
    lassign [options set_property {-dict value} $args] found rest
    if {[dict exists $found -dict]} {
        only {set_property -dict} 1 $rest
        dict for {name value} [dict get $found -dict] {
            set_one $name $value [lindex $rest 0]
        }
        return
    }
    only set_property 3 $rest
    set_one {*}$rest
}

proc set_one {name value object} {
    switch -glob -- "$object $name" {
        "fileset:sources_1 top" {
            if {![defines_module $value]} {
                error "set_property top: no file of the project has a module $value"
            }
            set ::recorder::top $value
        }
        "project:* ip_repo_paths" {set ::recorder::repository $value}
        "bd_cell:* CONFIG.*" {configure [named bd_cell $object] [string range $name 7 end] $value}
        "run:impl_1 strategy" {
            if {$value ni {Performance_Explore Performance_ExplorePostRoutePhysOpt Performance_ExtraTimingOpt}} {
                error "set_property strategy: there is none called $value"
            }
        }
        "core:*" - "busif:*" - "addr_block:*" {set_ipx $name $value $object}
        default {error "set_property: {$object} has no property $name that can be set"}
    }
}

proc defines_module {name} {
    foreach path $::recorder::files {
        set file [open $path]
        set text [read $file]
        close $file
        if {[regexp -line "^module $name\\M" $text]} {
            return 1
        }
    }
    return 0
}

proc get_property {name object} {
    switch -glob -- "$object $name" {
        "memory_map:* name" {return [named memory_map $object]}
        "bd_cell:* CONFIG.*" {return [configuration [named bd_cell $object] [string range $name 7 end]]}
        "run:* *" {return [run_property [named run $object] $name]}
        default {error "get_property: {$object} has no property $name"}
    }
}
