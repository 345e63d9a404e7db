# SPDX-License-Identifier: Apache-2.0
# Synthesis, place and route, bitstream and reports. out/build.json is written last: without it out/ is not whole.

add_files -norecurse [make_wrapper -files [get_files system.bd] -top]
set_property top system_wrapper [current_fileset]
update_compile_order -fileset sources_1
set_property strategy Performance_ExplorePostRoutePhysOpt [get_runs impl_1]
# Four, for Vivado takes some gigabytes of memory for each: the IPs of the block design are synthesized side by side.
launch_runs impl_1 -to_step write_bitstream -jobs 4
wait_on_run impl_1
foreach run {synth_1 impl_1} {
    if {[get_property PROGRESS [get_runs $run]] ne "100%"} {
        fail "$run stopped at: [get_property STATUS [get_runs $run]]; its log is work/system/system.runs/$run/runme.log"
    }
}

open_run impl_1
report_timing_summary -max_paths 10 -file out/timing.rpt
report_utilization -file out/utilization.rpt
report_utilization -hierarchical -file out/utilization_hierarchical.rpt
report_power -file out/power.rpt
file copy -force [get_property DIRECTORY [get_runs impl_1]]/system_wrapper.bit out/$top.bit
file copy -force work/system/system.gen/sources_1/bd/system/hw_handoff/system.hwh out/$top.hwh

set record [open out/build.json w]
puts $record "{\"manifest_sha256\": \"$manifest_sha256\", \"vivado\": \"[version -short]\", \"clock_mhz\": $reached_clock_mhz}"
close $record
foreach slack {WNS WHS TPWS} {
    puts "$slack [get_property STATS.$slack [get_runs impl_1]] ns"
}
