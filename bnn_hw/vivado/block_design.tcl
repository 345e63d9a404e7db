# SPDX-License-Identifier: Apache-2.0
# The block design: processing system, DMA and accelerator, on one clock.

# Returns the newest IP of that name that this Vivado has, or nothing.
proc newest {library name} {
    return [lindex [lsort -dictionary [get_ipdefs -all -filter "VLNV =~ xilinx.com:$library:$name:*"]] end]
}

# Makes a cell and sets its properties.
proc cell {name vlnv args} {
    if {$vlnv eq ""} {
        fail "this Vivado has no IP for the cell $name of the block design"
    }
    set type [expr {[string match *:inline_hdl:* $vlnv] ? "inline_hdl" : "ip"}]
    set made [create_bd_cell -type $type -vlnv $vlnv $name]
    if {[llength $args]} {
        set_property -dict $args $made
    }
}

proc wire {driver args} {
    foreach pin $args {
        connect_bd_net [get_bd_pins $driver] [get_bd_pins $pin]
    }
}

proc bus {master slave} {
    connect_bd_intf_net [get_bd_intf_pins $master] [get_bd_intf_pins $slave]
}

proc place {space segment base size} {
    assign_bd_address -offset $base -range $size -target_address_space [get_bd_addr_spaces $space] [get_bd_addr_segs $segment] -force
}

create_project -force system work/system -part $part
set_property ip_repo_paths [file normalize work/ip] [current_project]
update_ip_catalog
create_bd_design system

# The bitstream is loaded into a running system: DDR, MIO and the clocks of peripherals are as its boot loader set them, and
# nothing here reaches them. So no board files are needed, and the processing system has only what it shows the logic. Its pins
# and ports have the names that settings.tcl gives.
switch $processor {
    processing_system7 {
        cell processor [newest ip processing_system7] \
            CONFIG.PCW_CRYSTAL_PERIPHERAL_FREQMHZ $crystal_mhz \
            CONFIG.PCW_DDR_RAM_HIGHADDR [format 0x%08X [expr {$memory_size - 1}]] \
            CONFIG.PCW_EN_CLK0_PORT 1 \
            CONFIG.PCW_EN_RST0_PORT 1 \
            CONFIG.PCW_FPGA_FCLK0_ENABLE 1 \
            CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ $clock_mhz \
            CONFIG.PCW_USE_M_AXI_GP0 1 \
            CONFIG.PCW_USE_S_AXI_HP0 1 \
            CONFIG.PCW_S_AXI_HP0_DATA_WIDTH 64 \
            CONFIG.PCW_USE_FABRIC_INTERRUPT 1 \
            CONFIG.PCW_IRQ_F2P_INTR 1
        foreach {port interface} {
            DDR xilinx.com:interface:ddrx_rtl:1.0
            FIXED_IO xilinx.com:display_processing_system7:fixedio_rtl:1.0
        } {
            connect_bd_intf_net [create_bd_intf_port -mode Master -vlnv $interface $port] [get_bd_intf_pins processor/$port]
        }
    }
    zynq_ultra_ps_e {
        cell processor [newest ip zynq_ultra_ps_e] \
            CONFIG.PSU__PSS_REF_CLK__FREQMHZ $crystal_mhz \
            CONFIG.PSU__FPGA_PL0_ENABLE 1 \
            CONFIG.PSU__CRL_APB__PL0_REF_CTRL__SRCSEL IOPLL \
            CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ $clock_mhz \
            CONFIG.PSU__USE__FABRIC__RST 1 \
            CONFIG.PSU__NUM_FABRIC_RESETS 1 \
            CONFIG.PSU__USE__M_AXI_GP0 1 \
            CONFIG.PSU__MAXIGP0__DATA_WIDTH 32 \
            CONFIG.PSU__USE__M_AXI_GP1 0 \
            CONFIG.PSU__USE__M_AXI_GP2 0 \
            CONFIG.PSU__USE__S_AXI_GP2 1 \
            CONFIG.PSU__SAXIGP2__DATA_WIDTH 64 \
            CONFIG.PSU__USE__IRQ0 1
    }
    default {
        fail "processor must be processing_system7 or zynq_ultra_ps_e, not $processor"
    }
}

cell accelerator $accelerator_vlnv
cell dma [newest ip axi_dma] \
    CONFIG.c_include_sg 0 \
    CONFIG.c_sg_include_stscntrl_strm 0 \
    CONFIG.c_sg_length_width $dma_length_bits \
    CONFIG.c_include_mm2s 1 \
    CONFIG.c_include_mm2s_dre 0 \
    CONFIG.c_m_axi_mm2s_data_width 64 \
    CONFIG.c_m_axis_mm2s_tdata_width $s_axis_bits \
    CONFIG.c_include_s2mm 1 \
    CONFIG.c_include_s2mm_dre 0 \
    CONFIG.c_m_axi_s2mm_data_width 64 \
    CONFIG.c_s_axis_s2mm_tdata_width $m_axis_bits
cell registers [newest ip smartconnect] CONFIG.NUM_SI 1 CONFIG.NUM_MI 3
cell memory [newest ip smartconnect] CONFIG.NUM_SI 2 CONFIG.NUM_MI 1
cell resets [newest ip proc_sys_reset]
cell interrupts [newest ip axi_intc] CONFIG.C_IRQ_CONNECTION 1
# PYNQ follows interrupts through an xlconcat; a Vivado without it has an ilconcat in its place.
set concat [newest ip xlconcat]
if {$concat eq ""} {
    set concat [newest inline_hdl ilconcat]
}
cell concat $concat CONFIG.NUM_PORTS 2

foreach pin $port_clock_pins {
    wire processor/$clock_pin processor/$pin
}
wire processor/$clock_pin accelerator/aclk dma/s_axi_lite_aclk dma/m_axi_mm2s_aclk dma/m_axi_s2mm_aclk \
    registers/aclk memory/aclk interrupts/s_axi_aclk resets/slowest_sync_clk
wire processor/$reset_pin resets/ext_reset_in
wire resets/interconnect_aresetn registers/aresetn memory/aresetn
wire resets/peripheral_aresetn accelerator/aresetn dma/axi_resetn interrupts/s_axi_aresetn

bus processor/$registers_port registers/S00_AXI
bus registers/M00_AXI accelerator/s_axi
bus registers/M01_AXI dma/S_AXI_LITE
bus registers/M02_AXI interrupts/s_axi
bus dma/M_AXIS_MM2S accelerator/s_axis
bus accelerator/m_axis dma/S_AXIS_S2MM
bus dma/M_AXI_MM2S memory/S00_AXI
bus dma/M_AXI_S2MM memory/S01_AXI
bus memory/M00_AXI processor/$memory_port

wire dma/mm2s_introut concat/In0
wire dma/s2mm_introut concat/In1
wire concat/dout interrupts/intr
wire interrupts/irq processor/$interrupt_pin

place processor/Data accelerator/s_axi/reg0 $accelerator_base $accelerator_size
place processor/Data dma/S_AXI_LITE/Reg $dma_base $dma_size
place processor/Data interrupts/S_AXI/Reg $interrupts_base $interrupts_size
set dram processor/$memory_space/$memory_segment
foreach space {dma/Data_MM2S dma/Data_S2MM} {
    place $space $dram $memory_base $memory_size
    foreach segment [get_bd_addr_segs processor/$memory_space/*] {
        if {![string match */$dram $segment]} {
            exclude_bd_addr_seg -target_address_space [get_bd_addr_spaces $space] $segment
        }
    }
}
validate_bd_design
save_bd_design
set reached_clock_mhz [get_property $reached_clock [get_bd_cells processor]]
