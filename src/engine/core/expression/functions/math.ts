/** Arithmetic on bits, and chance. Numbers are signed 64-bit integers in two's complement. */
import { fail } from "../evaluate.ts";
import { define, defineWithContext, entraReference, type FunctionTable } from "./define.ts";

export const mathFunctions = {
  BitAnd: define({
    takes: ["left: num|null", "right: num|null"],
    gives: "num",
    does: "The bits set in both numbers; NULL counts as 0.",
    source: `${entraReference("bitand")}; NULL by out-of-box rules`,
    evaluate: (left, right) => (left ?? 0n) & (right ?? 0n),
    examples: [
      ["BitAnd(&HF, &HF7)", 7],
      ["BitAnd(-2147483646, -2147483648)", -2147483648],
      ["BitAnd(NULL, 2)", 0],
      ["BitAnd([flags], 2)", [2, 0], { attributes: { flags: [3, 4] } }],
    ],
  }),
  BitOr: define({
    takes: ["left: num|null", "right: num|null"],
    gives: "num",
    does: "The bits set in either number; NULL counts as 0.",
    source: entraReference("bitor"),
    evaluate: (left, right) => (left ?? 0n) | (right ?? 0n),
    examples: [
      ["BitOr(&HF0, &HF)", 255],
      ["BitOr(512, 65536)", 66048],
      ["BitOr(NULL, 2)", 2],
      ["BitOr([flags], 2)", [3, 6], { attributes: { flags: [3, 4] } }],
    ],
  }),
  RandomNum: defineWithContext({
    takes: ["start: num", "end: num"],
    gives: "num",
    does: "A number from `start` to `end`, both included.",
    source: entraReference("randomnum"),
    ofNull: "fails",
    evaluate: (context, start, end) => {
      if (end < start) fail("invalid-argument", "RandomNum: the end is before the start.");
      return start + randomBelow(context.random, end - start + 1n);
    },
    examples: [
      ["RandomNum(100, 999)", 550],
      ["RandomNum(7, 7)", 7],
      ["RandomNum(2, 1)", { $error: null }],
      ["RandomNum(NULL, 1)", { $error: "RandomNum: start is NULL." }],
      ["RandomNum([starts], 10)", [6, 10], { attributes: { starts: [1, 10] } }],
    ],
  }),
} satisfies FunctionTable;

/** At least 0, less than `bound`, which is at most 2^64. */
function randomBelow(random: () => number, bound: bigint): bigint {
  const exact = 2n ** 53n;
  if (bound <= exact) return BigInt(Math.floor(random() * Number(bound)));
  const high = BigInt(Math.floor(random() * 2 ** 32));
  const low = BigInt(Math.floor(random() * 2 ** 32));
  return (((high << 32n) | low) * bound) >> 64n;
}
