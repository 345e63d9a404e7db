# SPDX-License-Identifier: Apache-2.0
# From Verilog to bitstream: vivado -mode batch -source build.tcl
# All that it makes lies beside it: the projects in work/, the results in out/.

proc fail {message} {
    puts "ERROR: $message"
    exit 1
}

cd [file dirname [file normalize [info script]]]
source settings.tcl
regexp {^\d+\.\d+} [version -short] vivado_version
if {[package vcompare $vivado_version $oldest_vivado] < 0} {
    fail "Vivado must be of version $oldest_vivado or newer, not $vivado_version"
}
file delete -force work out
file mkdir work out
source package_ip.tcl
source block_design.tcl
source implement.tcl
puts "done; the results are in [file normalize out]"
