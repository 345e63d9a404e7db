# SPDX-License-Identifier: Apache-2.0
# The files that a run leaves, as Vivado writes them.

proc write_results {} {
    set folder [run_property impl_1 DIRECTORY]
    file mkdir $folder
    set file [open [file join $folder ${::recorder::top}.bit] wb]
    puts -nonewline $file [binary format SIIISS 9 0x0ff00ff0 0x0ff00ff0 0x0 0 1]
    foreach {key text} [list a "$::recorder::top;UserID=0XFFFFFFFF;Version=[dict get $::recorder::act version]" b [regsub {^xc} $::recorder::part_of_project {}] c 2020/01/01 d 00:00:00] {
        puts -nonewline $file $key[binary format S [expr {[string length $text] + 1}]]$text\0
    }
    puts -nonewline $file e[binary format I 4][binary format I 0xAA995566]
    close $file
    set folder [file join $::recorder::project_folder $::recorder::project.gen sources_1 bd $::recorder::design hw_handoff]
    file mkdir $folder
    set file [open [file join $folder $::recorder::design.hwh] w]
    puts $file [handoff]
    close $file
}

proc handoff {} {
    set lines {{<?xml version="1.0" encoding="UTF-8"?>} {<EDKSYSTEM>} {<MODULES>}}
    dict for {cell vlnv} $::recorder::cells {
        lappend lines "<MODULE INSTANCE=\"$cell\" VLNV=\"$vlnv\"/>"
    }
    lappend lines </MODULES> <MEMORYMAP>
    dict for {key range} $::recorder::mapped {
        if {$range ne ""} {
            lassign $range offset size
            lassign [split [lindex $key 1] /] cell interface block
            set last [expr {$offset + $size - 1}]
            lappend lines [format {<MEMRANGE INSTANCE="%s" SLAVEBUSINTERFACE="%s" ADDRESSBLOCK="%s" BASEVALUE="0x%08X" HIGHVALUE="0x%08X"/>} $cell $interface $block $offset $last]
        }
    }
    return [join [concat $lines [list </MEMORYMAP> </EDKSYSTEM>]] \n]
}

proc clock_name {} {
    return [expr {[string match xc7z* $::recorder::part_of_project] ? "clk_fpga_0" : "clk_pl_0"}]
}

proc path_of {kind slack} {
    if {$slack >= 0} {
        return "Slack (MET) :             ${slack}ns  (required time - arrival time)"
    }
    set edge "(rising edge-triggered cell FDRE clocked by [clock_name]  {rise@0.000ns fall@5.000ns period=10.000ns})"
    set indent [string repeat { } 28]
    return "Slack (VIOLATED) :        ${slack}ns  (required time - arrival time)
  Source:                 system_i/accelerator/inst/core/accelerator/fc1/sum_reg\[3\]/C
$indent$edge
  Destination:            system_i/accelerator/inst/core/accelerator/fc1/fired_reg\[0\]/D
$indent$edge
  Path Group:             [clock_name]
  Path Type:              $kind (Max at Slow Process Corner)
  Requirement:            10.000ns  ([clock_name] rise@10.000ns - [clock_name] rise@0.000ns)"
}

proc timing_report {} {
    dict with ::recorder::act {}
    set rule [string repeat - 96]
    set title {apply {{rule text} {return "$rule\n| $text\n| [string repeat - [string length $text]]\n$rule\n"}}}
    set setup {    WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints      WHS(ns)      THS(ns)  THS Failing Endpoints  THS Total Endpoints}
    set under {    -------      -------  ---------------------  -------------------      -------      -------  ---------------------  -------------------}
    set pulse {     WPWS(ns)     TPWS(ns)  TPWS Failing Endpoints  TPWS Total Endpoints  }
    set pulse_under {     --------     --------  ----------------------  --------------------  }
    set row [format {%11s  %11s  %21d  %19d  %11s  %11s  %21d  %19d} $wns 0.000 0 20723 $whs 0.000 0 20723]
    append row [format {  %11s  %11s  %22d  %20d  } 3.750 $tpws 0 9333]
    set clock [format %-14s [clock_name]]
    set blank [string repeat { } 14]
    set async [format {%11s  %11s  %21d  %19d  %11s  %11s  %21d  %19d  } 6.479 0.000 0 133 0.322 0.000 0 133]
    return "Copyright 1986-2020 Xilinx, Inc. All Rights Reserved.
| Tool Version : Vivado v.$version (lin64)

Timing Summary Report

[{*}$title $rule {Timer Settings}]
  Enable Multi Corner Analysis               :  Yes

[{*}$title $rule {Design Timing Summary}]
$setup$pulse
$under$pulse_under
$row


All user specified timing constraints are met.


[{*}$title $rule {Clock Summary}]
Clock       Waveform(ns)         Period(ns)      Frequency(MHz)
-----       ------------         ----------      --------------
[clock_name]  {0.000 5.000}        10.000          100.000         


[{*}$title $rule {Intra Clock Table}]
Clock         $setup$pulse
-----         $under$pulse_under
${clock}$row


[{*}$title $rule {Inter Clock Table}]
From Clock    To Clock      $setup  
----------    --------      $under  


[{*}$title $rule {Other Path Groups Table}]
Path Group    From Clock    To Clock      $setup  
----------    ----------    --------      $under  
[format %-14s%-14s%-14s **async_default** [clock_name] [clock_name]]$async


[{*}$title $rule {Timing Details}]

Max Delay Paths
--------------------------------------------------------------------------------------
[path_of Setup $wns]

Min Delay Paths
--------------------------------------------------------------------------------------
[path_of Hold $whs]
"
}

proc utilization_report {} {
    set site [expr {[string match xc7z* $::recorder::part_of_project] ? "Slice" : "CLB"}]
    set rule +----------------------------+-------+-------+-----------+-------+
    return "Utilization Design Information

1. $site Logic
--------------

$rule
|          Site Type         |  Used | Fixed | Available | Util% |
$rule
[format {| %-26s | %5d | %5d | %9d | %5.2f |} "$site LUTs*" 12873 0 53200 24.2]
|   LUT as Logic             | 12271 |     0 |     53200 | 23.07 |
[format {| %-26s | %5d | %5d | %9d | %5.2f |} "$site Registers" 14012 0 106400 13.17]
$rule

2. Memory
---------

| Block RAM Tile    |  3.5 |     0 |       140 |  2.50 |
|   RAMB36/FIFO*    |    3 |     0 |       140 |  2.14 |

3. DSP
------

| DSPs      |    2 |     0 |       220 |  0.91 |"
}

proc power_report {} {
    return "Power Report

1. Summary
----------

+--------------------------+--------------+
| Total On-Chip Power (W)  | 1.734        |
| Design Power Budget (W)  | Unspecified* |
| Dynamic (W)              | 1.592        |
| Device Static (W)        | 0.142        |
| Junction Temperature (C) | 45.0         |
| Confidence Level         | Low          |
+--------------------------+--------------+"
}
