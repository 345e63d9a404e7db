// SPDX-License-Identifier: Apache-2.0
// What the primitives of AMD's FPGAs do that the generated Verilog is made of (UG953), for simulation.

module LUT5 #(parameter [31:0] INIT = 0) (output O, input I0, I1, I2, I3, I4);
  assign O = INIT[{I4, I3, I2, I1, I0}];
endmodule

module LUT6 #(parameter [63:0] INIT = 0) (output O, input I0, I1, I2, I3, I4, I5);
  assign O = INIT[{I5, I4, I3, I2, I1, I0}];
endmodule

module LUT6_2 #(parameter [63:0] INIT = 0) (output O6, O5, input I0, I1, I2, I3, I4, I5);
  assign O6 = INIT[{I5, I4, I3, I2, I1, I0}];
  assign O5 = INIT[{1'b0, I4, I3, I2, I1, I0}];
endmodule

module MUXF7 (output O, input I0, I1, S);
  assign O = S ? I1 : I0;
endmodule

module MUXF8 (output O, input I0, I1, S);
  assign O = S ? I1 : I0;
endmodule

module CARRY4 (output [3:0] CO, O, input CI, CYINIT, input [3:0] DI, S);
  wire carry0 = CI | CYINIT;
  wire carry1 = S[0] ? carry0 : DI[0];
  wire carry2 = S[1] ? carry1 : DI[1];
  wire carry3 = S[2] ? carry2 : DI[2];
  assign CO = {S[3] ? carry3 : DI[3], carry3, carry2, carry1};
  assign O = S ^ {carry3, carry2, carry1, carry0};
endmodule
