# SPDX-License-Identifier: Apache-2.0
# Packages the Verilog as an IP (IP-XACT) in work/ip.

create_project -force package work/package -part $part
add_files -norecurse $top.v
set_property top $top [current_fileset]
update_compile_order -fileset sources_1
lassign [split $accelerator_vlnv :] vendor library name version
ipx::package_project -root_dir work/ip -vendor $vendor -library $library -taxonomy /UserIP -import_files -force
set core [ipx::current_core]
set_property name $name $core
set_property version $version $core
set_property display_name "bnn_hw $top" $core
set_property description "Binarized neural network $top" $core

# Clock and reset carry attributes in the Verilog; the buses are inferred from the names of their ports.
foreach {bus abstraction} {s_axis axis_rtl m_axis axis_rtl s_axi aximm_rtl} {
    if {[ipx::get_bus_interfaces -quiet $bus -of_objects $core] eq ""} {
        ipx::infer_bus_interfaces xilinx.com:interface:$abstraction:1.0 $core
    }
    if {[ipx::get_bus_interfaces -quiet $bus -of_objects $core] eq ""} {
        fail "the ports of $top.v that begin with ${bus}_ are no interface of xilinx.com:interface:$abstraction:1.0"
    }
    ipx::associate_bus_interfaces -busif $bus -clock aclk $core
}
ipx::associate_bus_interfaces -clock aclk -reset aresetn $core

# One block of registers, as large as the addresses that the block design gives it: where there are two, PYNQ makes two names of them.
foreach map [ipx::get_memory_maps -quiet * -of_objects $core] {
    ipx::remove_memory_map [get_property name $map] $core
}
set map [ipx::add_memory_map s_axi $core]
set_property slave_memory_map_ref s_axi [ipx::get_bus_interfaces s_axi -of_objects $core]
set block [ipx::add_address_block reg0 $map]
set_property base_address 0 $block
set_property range $accelerator_size $block
set_property width 32 $block
set_property usage register $block

ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::check_integrity $core
ipx::save_core $core
close_project
