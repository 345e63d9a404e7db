// SPDX-License-Identifier: Apache-2.0
// The number of ones of a word, as a simulator counts them fast: in all fields of the word at once (H. S. Warren,
// Hacker's Delight, section 5-1).
module BNN_HW_TOP__ones32 (input [31:0] i, output [5:0] o);
  wire [31:0] pairs = i - ((i >> 1) & 32'h55555555);
  wire [31:0] nibbles = (pairs & 32'h33333333) + ((pairs >> 2) & 32'h33333333);
  wire [31:0] bytes = (nibbles + (nibbles >> 4)) & 32'h0f0f0f0f;
  wire [31:0] total = bytes * 32'h01010101;
  assign o = total[29:24];
endmodule
