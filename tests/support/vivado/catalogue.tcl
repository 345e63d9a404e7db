# SPDX-License-Identifier: Apache-2.0
# The IPs that there are: properties with their defaults, and the pins, interfaces and addresses that they then have (AMD PG021,
# PG082, PG099, PG164, PG201, PG247; names as in PYNQ's base overlays). A last element is the condition under which one is there.
#
# pins: name direction type, where "need" inputs must be driven. interfaces: name mode kind clock width.
# spaces: name interface. segments: name interface size.

set recorder::catalogue {}
proc ip {vlnv parts description} {
    dict set ::recorder::catalogue $vlnv [dict merge {properties {} ranges {} pins {} interfaces {} spaces {} segments {}} $description]
    dict set ::recorder::catalogue $vlnv parts $parts
}

ip xilinx.com:ip:processing_system7:5.5 xc7z* {
    properties {
        PCW_CRYSTAL_PERIPHERAL_FREQMHZ 33.333333 PCW_DDR_RAM_HIGHADDR 0x3FFFFFFF PCW_EN_CLK0_PORT 1 PCW_EN_CLK1_PORT 0
        PCW_EN_RST0_PORT 1 PCW_FPGA_FCLK0_ENABLE 1 PCW_FPGA0_PERIPHERAL_FREQMHZ 50 PCW_ACT_FPGA0_PERIPHERAL_FREQMHZ 50
        PCW_USE_M_AXI_GP0 1 PCW_USE_M_AXI_GP1 0 PCW_USE_S_AXI_HP0 0 PCW_USE_S_AXI_HP1 0 PCW_S_AXI_HP0_DATA_WIDTH 64
        PCW_USE_FABRIC_INTERRUPT 0 PCW_IRQ_F2P_INTR 0
    }
    ranges {PCW_FPGA0_PERIPHERAL_FREQMHZ {0.1 250} PCW_CRYSTAL_PERIPHERAL_FREQMHZ {30 60} PCW_S_AXI_HP0_DATA_WIDTH {32 64}}
    pins {
        {FCLK_CLK0 O clk {$PCW_EN_CLK0_PORT && $PCW_FPGA_FCLK0_ENABLE}}
        {FCLK_RESET0_N O rstn {$PCW_EN_RST0_PORT}}
        {M_AXI_GP0_ACLK I clk {$PCW_USE_M_AXI_GP0}}
        {S_AXI_HP0_ACLK I clk {$PCW_USE_S_AXI_HP0}}
        {IRQ_F2P I intr {$PCW_USE_FABRIC_INTERRUPT && $PCW_IRQ_F2P_INTR}}
    }
    interfaces {
        {DDR Master ddrx {} 0} {FIXED_IO Master fixedio {} 0}
        {M_AXI_GP0 Master aximm M_AXI_GP0_ACLK 32 {$PCW_USE_M_AXI_GP0}}
        {S_AXI_HP0 Slave aximm S_AXI_HP0_ACLK $PCW_S_AXI_HP0_DATA_WIDTH {$PCW_USE_S_AXI_HP0}}
    }
    spaces {{Data M_AXI_GP0 0x40000000 0x7FFFFFFF}}
    segments {{S_AXI_HP0/HP0_DDR_LOWOCM S_AXI_HP0 {$PCW_DDR_RAM_HIGHADDR + 1} {$PCW_USE_S_AXI_HP0}}}
}

ip xilinx.com:ip:zynq_ultra_ps_e:3.3 {xczu* xck26*} {
    properties {
        PSU__PSS_REF_CLK__FREQMHZ 33.333 PSU__FPGA_PL0_ENABLE 1 PSU__FPGA_PL1_ENABLE 0
        PSU__CRL_APB__PL0_REF_CTRL__SRCSEL IOPLL PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ 100
        PSU__CRL_APB__PL0_REF_CTRL__ACT_FREQMHZ 100 PSU__USE__FABRIC__RST 1 PSU__NUM_FABRIC_RESETS 1
        PSU__USE__M_AXI_GP0 1 PSU__MAXIGP0__DATA_WIDTH 128 PSU__USE__M_AXI_GP1 1 PSU__MAXIGP1__DATA_WIDTH 128
        PSU__USE__M_AXI_GP2 0 PSU__MAXIGP2__DATA_WIDTH 32 PSU__USE__S_AXI_GP2 0 PSU__SAXIGP2__DATA_WIDTH 128
        PSU__USE__S_AXI_GP3 0 PSU__USE__IRQ0 1 PSU__USE__IRQ1 0
    }
    ranges {PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ {0 533} PSU__PSS_REF_CLK__FREQMHZ {27 60} PSU__SAXIGP2__DATA_WIDTH {32 128}}
    pins {
        {pl_clk0 O clk {$PSU__FPGA_PL0_ENABLE}}
        {pl_resetn0 O rstn {$PSU__USE__FABRIC__RST && $PSU__NUM_FABRIC_RESETS}}
        {maxihpm0_fpd_aclk I clk {$PSU__USE__M_AXI_GP0}}
        {maxihpm1_fpd_aclk I clk {$PSU__USE__M_AXI_GP1}}
        {maxihpm0_lpd_aclk I clk {$PSU__USE__M_AXI_GP2}}
        {saxihp0_fpd_aclk I clk {$PSU__USE__S_AXI_GP2}}
        {pl_ps_irq0 I intr {$PSU__USE__IRQ0}}
    }
    interfaces {
        {M_AXI_HPM0_FPD Master aximm maxihpm0_fpd_aclk $PSU__MAXIGP0__DATA_WIDTH {$PSU__USE__M_AXI_GP0}}
        {M_AXI_HPM1_FPD Master aximm maxihpm1_fpd_aclk $PSU__MAXIGP1__DATA_WIDTH {$PSU__USE__M_AXI_GP1}}
        {M_AXI_HPM0_LPD Master aximm maxihpm0_lpd_aclk $PSU__MAXIGP2__DATA_WIDTH {$PSU__USE__M_AXI_GP2}}
        {S_AXI_HP0_FPD Slave aximm saxihp0_fpd_aclk $PSU__SAXIGP2__DATA_WIDTH {$PSU__USE__S_AXI_GP2}}
    }
    spaces {{Data M_AXI_HPM0_FPD 0xA0000000 0xAFFFFFFF}}
    segments {
        {SAXIGP2/HP0_DDR_LOW S_AXI_HP0_FPD 0x80000000 {$PSU__USE__S_AXI_GP2}}
        {SAXIGP2/HP0_LPS_OCM S_AXI_HP0_FPD 0x1000000 {$PSU__USE__S_AXI_GP2}}
        {SAXIGP2/HP0_QSPI S_AXI_HP0_FPD 0x20000000 {$PSU__USE__S_AXI_GP2}}
    }
}

ip xilinx.com:ip:axi_dma:7.1 * {
    properties {
        c_include_sg 1 c_sg_include_stscntrl_strm 1 c_sg_length_width 14 c_micro_dma 0 c_addr_width 32 c_enable_multi_channel 0
        c_include_mm2s 1 c_include_mm2s_dre 0 c_m_axi_mm2s_data_width 32 c_m_axis_mm2s_tdata_width 32 c_mm2s_burst_size 16
        c_include_s2mm 1 c_include_s2mm_dre 0 c_m_axi_s2mm_data_width 32 c_s_axis_s2mm_tdata_width 32 c_s2mm_burst_size 16
    }
    ranges {c_sg_length_width {8 26} c_m_axi_mm2s_data_width {32 1024} c_m_axis_mm2s_tdata_width {8 1024} c_m_axi_s2mm_data_width {32 1024}}
    pins {
        {s_axi_lite_aclk I clk} {m_axi_sg_aclk I clk {$c_include_sg}}
        {m_axi_mm2s_aclk I clk {$c_include_mm2s}} {m_axi_s2mm_aclk I clk {$c_include_s2mm}} {axi_resetn I rstn}
        {mm2s_prmry_reset_out_n O rstn {$c_include_mm2s}} {s2mm_prmry_reset_out_n O rstn {$c_include_s2mm}}
        {mm2s_introut O intr {$c_include_mm2s}} {s2mm_introut O intr {$c_include_s2mm}} {axi_dma_tstvec O data}
    }
    interfaces {
        {S_AXI_LITE Slave aximm s_axi_lite_aclk 32}
        {M_AXI_SG Master aximm m_axi_sg_aclk 32 {$c_include_sg}}
        {M_AXI_MM2S Master aximm m_axi_mm2s_aclk $c_m_axi_mm2s_data_width {$c_include_mm2s}}
        {M_AXI_S2MM Master aximm m_axi_s2mm_aclk $c_m_axi_s2mm_data_width {$c_include_s2mm}}
        {M_AXIS_MM2S Master axis m_axi_mm2s_aclk $c_m_axis_mm2s_tdata_width {$c_include_mm2s}}
        {S_AXIS_S2MM Slave axis m_axi_s2mm_aclk $c_s_axis_s2mm_tdata_width {$c_include_s2mm}}
        {M_AXIS_CNTRL Master axis m_axi_sg_aclk 32 {$c_include_sg && $c_sg_include_stscntrl_strm}}
    }
    spaces {
        {Data_SG M_AXI_SG 0 0xFFFFFFFF {$c_include_sg}}
        {Data_MM2S M_AXI_MM2S 0 0xFFFFFFFF {$c_include_mm2s}} {Data_S2MM M_AXI_S2MM 0 0xFFFFFFFF {$c_include_s2mm}}
    }
    segments {{S_AXI_LITE/Reg S_AXI_LITE 0x10000}}
}

set recorder::several {}
for {set port 0} {$port < 16} {incr port} {
    append recorder::several " {S[format %02d $port]_AXI Slave aximm aclk 0 {\$NUM_SI > $port}} {M[format %02d $port]_AXI Master aximm aclk 0 {\$NUM_MI > $port}}"
}
ip xilinx.com:ip:smartconnect:1.0 * [subst -nocommands -novariables {
    properties {NUM_SI 2 NUM_MI 1 NUM_CLKS 1 HAS_ARESETN 1}
    ranges {NUM_SI {1 16} NUM_MI {1 16}}
    pins {{aclk I clk} {aresetn I rstn {$HAS_ARESETN}}}
}]
dict set recorder::catalogue xilinx.com:ip:smartconnect:1.0 interfaces $recorder::several

ip xilinx.com:ip:proc_sys_reset:5.0 * {
    properties {C_EXT_RESET_HIGH 0 C_AUX_RESET_HIGH 0 C_EXT_RST_WIDTH 4}
    pins {
        {slowest_sync_clk I clk} {ext_reset_in I rstn} {aux_reset_in I free} {mb_debug_sys_rst I free} {dcm_locked I free}
        {mb_reset O rst} {bus_struct_reset O rst} {peripheral_reset O rst}
        {interconnect_aresetn O rstn} {peripheral_aresetn O rstn}
    }
}

ip xilinx.com:ip:axi_intc:4.1 * {
    properties {C_IRQ_CONNECTION 0 C_IRQ_IS_LEVEL 1 C_HAS_FAST 0 C_KIND_OF_INTR 0xFFFFFFFF}
    pins {{s_axi_aclk I clk} {s_axi_aresetn I rstn} {intr I intr} {irq O intr {$C_IRQ_CONNECTION}}}
    interfaces {{s_axi Slave aximm s_axi_aclk 32} {interrupt Master mbinterrupt s_axi_aclk 0 {!$C_IRQ_CONNECTION}}}
    segments {{S_AXI/Reg s_axi 0x10000}}
}

set recorder::inputs {}
for {set port 0} {$port < 32} {incr port} {
    append recorder::inputs " {In$port I intr {\$NUM_PORTS > $port}}"
}
foreach vlnv {xilinx.com:ip:xlconcat:2.0 xilinx.com:ip:xlconcat:2.1 xilinx.com:inline_hdl:ilconcat:1.0} {
    ip $vlnv * {properties {NUM_PORTS 2 IN0_WIDTH 1 IN1_WIDTH 1} ranges {NUM_PORTS {1 128}}}
    dict set recorder::catalogue $vlnv pins "$recorder::inputs {dout O intr}"
}
