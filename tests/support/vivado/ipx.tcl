# SPDX-License-Identifier: Apache-2.0
# The packager of IPs. Ports and attributes are those of the Verilog.

namespace eval ipx {}
set recorder::core {}

# Returns the ports of a module, name to direction and bits, and the X_INTERFACE attributes of each.
proc ports_of {path module} {
    set file [open $path]
    set text [read $file]
    close $file
    if {![regexp "\nmodule $module\\M.*?\nendmodule" $text body]} {
        error "$path has no module $module"
    }
    set ports {}
    set attributes {}
    foreach line [split $body \n] {
        if {[regexp {\(\* (X_INTERFACE_\w+) = "([^"]*)" \*\)} $line -> name value]} {
            dict set attributes $name $value
        } elseif {[regexp {^ *(input|output) (?:\[(\d+):0\] )?(\w+);} $line -> direction left port]} {
            dict set ports $port [dict create direction $direction bits [expr {$left eq "" ? 1 : $left + 1}] attributes $attributes]
            set attributes {}
        } else {
            set attributes {}
        }
    }
    return $ports
}

# Adds to the core what its ports are, for buses of one kind: name, mode, bits of data.
proc infer {kind} {
    set signals [dict get {
        axis {tdata tvalid tready tlast tkeep}
        aximm {awaddr awprot awvalid awready wdata wstrb wvalid wready bresp bvalid bready araddr arprot arvalid arready rdata rresp rvalid rready}
    } $kind]
    set valid [lindex [dict get {axis tvalid aximm awvalid} $kind]]
    set data [dict get {axis tdata aximm wdata} $kind]
    foreach port [dict keys $::recorder::core_ports *_$valid] {
        set bus [string range $port 0 end-[string length _$valid]]
        set there 1
        foreach signal $signals {
            set there [expr {$there && [dict exists $::recorder::core_ports ${bus}_$signal]}]
        }
        if {$there} {
            set mode [expr {[dict get $::recorder::core_ports $port direction] eq "output" ? "Master" : "Slave"}]
            dict set ::recorder::core_buses $bus [list $mode $kind [dict get $::recorder::core_ports ${bus}_$data bits]]
        }
    }
}

proc ipx::package_project {args} {
    need_project ipx::package_project
    set allowed {-root_dir value -vendor value -library value -taxonomy value -import_files flag -force flag}
    lassign [options ipx::package_project $allowed $args] found rest
    only ipx::package_project 0 $rest
    if {$::recorder::top eq ""} {
        error "ipx::package_project: the project has no top"
    }
    set ::recorder::core $::recorder::top
    set ::recorder::core_folder [dict get $found -root_dir]
    set ::recorder::core_name [dict create vendor [dict get $found -vendor] library [dict get $found -library] name $::recorder::top version 1.0]
    set ::recorder::core_ports [ports_of [lindex $::recorder::files 0] $::recorder::top]
    set ::recorder::core_buses {}
    set ::recorder::core_maps {}
    set ::recorder::core_clocks {}
    set ::recorder::core_resets {}
    dict for {port description} $::recorder::core_ports {
        set attributes [dict get $description attributes]
        if {[dict exists $attributes X_INTERFACE_INFO]} {
            lassign [split [lindex [dict get $attributes X_INTERFACE_INFO] 0] :] - - signal
            dict set ::recorder::core_buses $port [list Slave $signal 1]
            if {$signal eq "reset" && [dict get $attributes X_INTERFACE_PARAMETER] ne "POLARITY ACTIVE_LOW"} {
                error "ipx::package_project: reset $port is not active low"
            }
        }
    }
    if {[dict get $::recorder::act infers]} {
        infer axis
        infer aximm
        foreach bus [dict keys $::recorder::core_buses s_axi] {
            dict set ::recorder::core_maps $bus {reg0 {range 256}}
        }
    }
    file mkdir [file join $::recorder::core_folder src]
    file copy [lindex $::recorder::files 0] [file join $::recorder::core_folder src]
    return core:$::recorder::core
}

proc ipx::current_core {} {
    if {$::recorder::core eq ""} {
        error "ipx::current_core: no IP is open"
    }
    return core:$::recorder::core
}

proc ipx::get_bus_interfaces {args} {
    lassign [options ipx::get_bus_interfaces {-quiet flag -of_objects value} $args] found rest
    named core [dict get $found -of_objects]
    only ipx::get_bus_interfaces 1 $rest
    return [lmap bus [dict keys $::recorder::core_buses [lindex $rest 0]] {string cat busif: $bus}]
}

proc ipx::infer_bus_interfaces {abstraction core} {
    named core $core
    if {![regexp {^xilinx.com:interface:(axis|aximm)_rtl:1.0$} $abstraction -> kind]} {
        error "ipx::infer_bus_interfaces: there is no abstraction $abstraction"
    }
    infer $kind
}

proc ipx::associate_bus_interfaces {args} {
    lassign [options ipx::associate_bus_interfaces {-busif value -clock value -reset value} $args] found rest
    only ipx::associate_bus_interfaces 1 $rest
    named core [lindex $rest 0]
    dict for {option name} $found {
        if {![dict exists $::recorder::core_buses $name]} {
            error "ipx::associate_bus_interfaces: the IP has no interface $name"
        }
        set kind [lindex [dict get $::recorder::core_buses $name] 1]
        if {$kind ni [dict get {-busif {axis aximm} -clock clock -reset reset} $option]} {
            error "ipx::associate_bus_interfaces: $name is a $kind"
        }
    }
    set clock [dict get $found -clock]
    if {[dict exists $found -busif]} {
        dict set ::recorder::core_clocks [dict get $found -busif] $clock
    }
    if {[dict exists $found -reset]} {
        dict set ::recorder::core_resets $clock [dict get $found -reset]
    }
}

proc ipx::get_memory_maps {args} {
    lassign [options ipx::get_memory_maps {-quiet flag -of_objects value} $args] found rest
    named core [dict get $found -of_objects]
    return [lmap map [dict keys $::recorder::core_maps {*}$rest] {string cat memory_map: $map}]
}

proc ipx::remove_memory_map {name core} {
    named core $core
    if {![dict exists $::recorder::core_maps $name]} {
        error "ipx::remove_memory_map: there is none called $name"
    }
    dict unset ::recorder::core_maps $name
}

proc ipx::add_memory_map {name core} {
    named core $core
    if {[dict exists $::recorder::core_maps $name]} {
        error "ipx::add_memory_map: there is one called $name already"
    }
    dict set ::recorder::core_maps $name {}
    return memory_map:$name
}

proc ipx::add_address_block {name map} {
    set map [named memory_map $map]
    dict set ::recorder::core_maps $map $name {}
    return addr_block:$map/$name
}

proc set_ipx {name value object} {
    switch -glob -- "$object $name" {
        "core:* name" - "core:* version" {dict set ::recorder::core_name $name $value}
        "core:* display_name" - "core:* description" {}
        "busif:* slave_memory_map_ref" {
            if {![dict exists $::recorder::core_maps $value]} {
                error "set_property slave_memory_map_ref: the IP has no memory map $value"
            }
        }
        "addr_block:* base_address" - "addr_block:* range" - "addr_block:* width" - "addr_block:* usage" {
            lassign [split [named addr_block $object] /] map block
            dict set ::recorder::core_maps $map $block $name $value
        }
        default {error "set_property: {$object} has no property $name"}
    }
}

foreach command {create_xgui_files update_checksums check_integrity} {
    proc ipx::$command {core} {
        named core $core
    }
}

# Writes the IP as an entry of the catalogue.
proc ipx::save_core {core} {
    named core $core
    set pins {}
    set interfaces {}
    set segments {}
    dict for {bus description} $::recorder::core_buses {
        lassign $description mode kind bits
        switch $kind {
            clock {lappend pins [list $bus I clk]}
            reset {lappend pins [list $bus I rstn]}
            default {
                if {![dict exists $::recorder::core_clocks $bus]} {
                    error "ipx::save_core: $bus has no clock"
                }
                lappend interfaces [list $bus $mode $kind [dict get $::recorder::core_clocks $bus] $bits]
            }
        }
    }
    dict for {map blocks} $::recorder::core_maps {
        if {[dict size $blocks] != 1} {
            error "ipx::save_core: the memory map $map must have one address block, not [dict size $blocks]"
        }
        dict for {block settings} $blocks {
            lappend segments [list $map/$block $map [dict get $settings range]]
        }
    }
    if {![dict size $::recorder::core_resets]} {
        error "ipx::save_core: no reset goes with the clock"
    }
    set vlnv [join [lmap part {vendor library name version} {dict get $::recorder::core_name $part}] :]
    set file [open [file join $::recorder::core_folder component.xml] w]
    puts $file [list $vlnv * [dict create pins $pins interfaces $interfaces segments $segments]]
    close $file
    note ip $vlnv
}
