// SPDX-License-Identifier: Apache-2.0
// The accelerator with the output streams of its layers brought out, for the harness.
module _testbench(
  input aclk,
  input aresetn,
  input [63:0] s_axis_tdata,
  input s_axis_tlast,
  input s_axis_tvalid,
  output s_axis_tready,
  output [31:0] m_axis_tdata,
  output m_axis_tlast,
  output m_axis_tvalid,
  input m_axis_tready@TAP_PORTS@
);
  \@TOP@ dut (
    .aclk(aclk),
    .aresetn(aresetn),
    .s_axis_tdata(s_axis_tdata),
    .s_axis_tkeep(8'hff),
    .s_axis_tlast(s_axis_tlast),
    .s_axis_tvalid(s_axis_tvalid),
    .s_axis_tready(s_axis_tready),
    .m_axis_tdata(m_axis_tdata),
    .m_axis_tkeep(),
    .m_axis_tlast(m_axis_tlast),
    .m_axis_tvalid(m_axis_tvalid),
    .m_axis_tready(m_axis_tready),
    .s_axi_awaddr(@ADDRESS_BITS@'d0),
    .s_axi_awprot(3'd0),
    .s_axi_awvalid(1'b0),
    .s_axi_awready(),
    .s_axi_wdata(32'd0),
    .s_axi_wstrb(4'd0),
    .s_axi_wvalid(1'b0),
    .s_axi_wready(),
    .s_axi_bresp(),
    .s_axi_bvalid(),
    .s_axi_bready(1'b1),
    .s_axi_araddr(@ADDRESS_BITS@'d0),
    .s_axi_arprot(3'd0),
    .s_axi_arvalid(1'b0),
    .s_axi_arready(),
    .s_axi_rdata(),
    .s_axi_rresp(),
    .s_axi_rvalid(),
    .s_axi_rready(1'b1)
  );
@TAPS@
endmodule
