/** Text functions. Positions count from 1, in UTF-16 units as .NET counts them. */
import { assertLength, fail } from "../evaluate.ts";
import * as types from "../types.ts";
import { define, entraReference, type FunctionTable } from "./define.ts";
import { indexOf, lastIndexOf, oneOf, splitBy } from "./search.ts";

/** The same type in as out: text of text, bytes of binary. */
const likeTheFirst = ([first = 0]: readonly types.Type[]): types.Type => {
  const kept = first & (types.binary | types.unknown);
  return (first & ~kept & types.anyValue) === 0 && kept !== 0 ? kept : kept | types.text;
};

export const textFunctions = {
  InStr: define({
    takes: ["text: str", "match: str|null", "start?: int", "compare?: compare"],
    gives: "num",
    does: "The position of the first `match` in `text` at or after `start`, 0 when there is none. Capitals count unless `vbTextCompare` is given.",
    source: entraReference("instr"),
    ofNull: 0n,
    evaluate: (text, match, start = 1, compare = "vbBinaryCompare") => {
      if (match === null) return 0n;
      if (start < 1) return fail("invalid-argument", "InStr: start counts from 1.");
      if (start > text.length) return 0n;
      const ignoreCase = compare === "vbTextCompare";
      const found = ignoreCase
        ? indexOf(upperCase(text), upperCase(match), start - 1)
        : indexOf(text, match, start - 1);
      return BigInt(found + 1);
    },
    examples: [
      ['InStr("The quick brown fox", "quick")', 5],
      ['InStr("repEated", "e", 3, vbBinaryCompare)', 7],
      ['InStr("repEated", "e", 3, vbTextCompare)', 4],
      ['InStr("abc", "x")', 0],
      ['InStr(NULL, "x")', 0],
      ['InStr([phones], "-")', [3, 0], { attributes: { phones: ["12-3", "45"] } }],
    ],
  }),
  InStrRev: define({
    takes: ["text: str", "match: str|null", "start?: int", "compare?: compare"],
    gives: "num",
    does: "The position of the last `match` in `text` that ends at or before `start`, 0 when there is none.",
    source: entraReference("instrrev"),
    ofNull: 0n,
    evaluate: (text, match, start = -1, compare = "vbBinaryCompare") => {
      if (match === null || text === "") return 0n;
      if (start < 1 && start !== -1)
        return fail("invalid-argument", "InStrRev: start counts from 1; -1 is the end.");
      const searched = start === -1 ? text : text.slice(0, start);
      const ignoreCase = compare === "vbTextCompare";
      const found = ignoreCase
        ? lastIndexOf(upperCase(searched), upperCase(match))
        : lastIndexOf(searched, match);
      return BigInt(found + 1);
    },
    examples: [
      ['InStrRev("abbcdbbbef", "bb")', 7],
      ['InStrRev("abbcdbbbef", "bb", 6)', 2],
      ['InStrRev("ABBA", "b", -1, vbTextCompare)', 3],
      ['InStrRev(NULL, "b")', 0],
      ['InStrRev([phones], "1")', [4, 0], { attributes: { phones: ["1231", "45"] } }],
    ],
  }),
  LCase: define({
    takes: ["text: str"],
    gives: "str",
    does: "All letters in lower case.",
    source: entraReference("lcase"),
    evaluate: (text) => lowerCase(text),
    examples: [
      ['LCase("TeSt")', "test"],
      ["LCase(NULL)", null],
      ["LCase([mails])", ["a@b", "c@d"], { attributes: { mails: ["A@b", "C@D"] } }],
    ],
  }),
  Left: define({
    takes: ["text: str", "count: int"],
    gives: "str",
    does: "The first `count` characters; all of `text` when `count` is negative or beyond its end.",
    source: entraReference("left"),
    ofNull: "",
    // A negative count is not JavaScript's slice.
    evaluate: (text, count) => (count < 0 ? text : text.slice(0, count)),
    examples: [
      ['Left("John Doe", 3)', "Joh"],
      ['Left("John Doe", 0)', ""],
      ['Left("John Doe", -1)', "John Doe"],
      ['Left("John", 10)', "John"],
      ["Left(NULL, 3)", ""],
      ["Left([phones], 2)", ["12", "45"], { attributes: { phones: ["12-3", "45"] } }],
    ],
  }),
  Len: define({
    takes: ["value: str|bin"],
    gives: "num",
    does: "The number of characters, of bytes for binary; 0 for NULL.",
    source: `${entraReference("len")}; of binary by out-of-box rules`,
    ofNull: 0n,
    evaluate: (value) => BigInt(value.length),
    examples: [
      ['Len("John Doe")', 8],
      ["Len(NULL)", 0],
      ["Len([key])", 3, { attributes: { key: { $bin: "AQID" } } }],
      ["Len([phones])", [4, 2], { attributes: { phones: ["12-3", "45"] } }],
    ],
  }),
  LTrim: define({
    takes: ["text: str"],
    gives: "str",
    does: "Without the white space at the start.",
    source: entraReference("ltrim"),
    evaluate: (text) => text.trimStart(),
    examples: [
      ['LTrim(" Test ")', "Test "],
      ["LTrim(NULL)", null],
      ["LTrim([names])", ["a ", "b"], { attributes: { names: [" a ", "b"] } }],
    ],
  }),
  Mid: define({
    takes: ["value: str|bin", "start: int", "count?: int"],
    gives: "str",
    does: "`count` characters (bytes of binary) from position `start`, or all to the end. All of `value` when `start` is outside it or `count` is negative.",
    source: `${entraReference("mid")}; with two arguments by the example of Item, of binary by out-of-box rules`,
    ofNull: "",
    typeOfResult: likeTheFirst,
    evaluate: (value, start, count = Number.MAX_SAFE_INTEGER) => {
      if (count === 0) return value.slice(0, 0);
      if (count < 0 || start < 1 || start > value.length) return value;
      return value.slice(start - 1, start - 1 + count);
    },
    examples: [
      ['Mid("John Doe", 3, 5)', "hn Do"],
      ['Mid("John Doe", 6, 999)', "Doe"],
      ['Mid("John Doe", 6)', "Doe"],
      ['Mid("John Doe", 9, 1)', "John Doe"],
      ['Mid("John Doe", 1, 0)', ""],
      ['Mid("John Doe", 1, -1)', "John Doe"],
      ["Mid(NULL, 1, 2)", ""],
      ["Mid([key], 2, 2)", { $bin: "AgM=" }, { attributes: { key: { $bin: "AQIDBA==" } } }],
      ["Mid([phones], 2, 1)", ["2", "5"], { attributes: { phones: ["12-3", "45"] } }],
    ],
  }),
  PadLeft: define({
    takes: ["text: str", "length: int", "padding: str"],
    gives: "str",
    does: "`text` with `padding`, one character, put before it until it has `length` characters.",
    source: entraReference("padleft"),
    ofNull: "",
    evaluate: (text, length, padding) => {
      assertPadding("PadLeft", length, padding);
      return text.padStart(length, padding);
    },
    examples: [
      ['PadLeft("User", 10, "0")', "000000User"],
      ['PadLeft("Username", 4, "0")', "Username"],
      ['PadLeft(NULL, 4, "0")', ""],
      ['PadLeft("User", 10, NULL)', { $error: "PadLeft: padding is NULL." }],
      ['PadLeft([ids], 3, "0")', ["007", "042"], { attributes: { ids: ["7", "42"] } }],
    ],
  }),
  PadRight: define({
    takes: ["text: str", "length: int", "padding: str"],
    gives: "str",
    does: "`text` with `padding`, one character, put after it until it has `length` characters.",
    source: entraReference("padright"),
    ofNull: "",
    evaluate: (text, length, padding) => {
      assertPadding("PadRight", length, padding);
      return text.padEnd(length, padding);
    },
    examples: [
      ['PadRight("User", 10, "0")', "User000000"],
      ['PadRight("Username", 4, "0")', "Username"],
      ['PadRight(NULL, 4, "0")', ""],
      ['PadRight([ids], 3, "0")', ["700", "420"], { attributes: { ids: ["7", "42"] } }],
    ],
  }),
  PCase: define({
    takes: ["text: str"],
    gives: "str",
    does: "Each word with a capital first and small letters after; a word all in capitals stays, as with .NET's ToTitleCase.",
    source: entraReference("pcase"),
    evaluate: (text) => titleCase(text),
    examples: [
      ['PCase("TEsT")', "Test"],
      ['PCase("TEST")', "TEST"],
      ['PCase(LCase("TEST"))', "Test"],
      [`PCase("ann-marie o'neil")`, "Ann-Marie O'neil"],
      ["PCase(NULL)", null],
      ["PCase([names])", ["Ann", "Bo"], { attributes: { names: ["ann", "bo"] } }],
    ],
  }),
  Replace: define({
    takes: ["text: str", "old: str|null", "new: str|null"],
    gives: "str",
    does: "Every `old` in `text` replaced by `new`. In both, `\\n`, `\\r` and `\\t` mean line feed, carriage return and tab.",
    source: entraReference("replace"),
    evaluate: (text, old, replacement) => {
      const searched = withMonikers(old ?? "");
      if (searched === "") return text;
      const inserted = withMonikers(replacement ?? "");
      const parts = splitBy(text, searched);
      assertLength(text.length + (parts.length - 1) * (inserted.length - searched.length));
      return parts.join(inserted);
    },
    examples: [
      [
        'Replace([address], "\\r\\n", ", ")',
        "One Microsoft Way, Redmond",
        { attributes: { address: "One Microsoft Way\r\nRedmond" } },
      ],
      ['Replace("a.b.c", ".", "")', "abc"],
      ['Replace("Abc", "a", "x")', "Abc"],
      ['Replace(NULL, "a", "x")', null],
      ['Replace([phones], "-", "")', ["123", "45"], { attributes: { phones: ["12-3", "45"] } }],
    ],
  }),
  ReplaceChars: define({
    takes: ["text: str", "pattern: str"],
    gives: "str",
    does: "Characters replaced by the pattern `a:b,c:dd,e:`: one character, a colon, and any text or none. White space in the pattern does not count; `,` and `:` cannot be replaced.",
    source: entraReference("replacechars"),
    evaluate: (text, pattern) => {
      const replacements = readReplacements(pattern);
      let length = text.length;
      for (const character of text)
        length += (replacements.get(character)?.length ?? character.length) - character.length;
      assertLength(length);
      return Array.from(text, (character) => replacements.get(character) ?? character).join("");
    },
    examples: [
      ['ReplaceChars("Räksmörgås", "å:a,ä:a,ö:o")', "Raksmorgas"],
      ['ReplaceChars("O’Neil", "’:")', "ONeil"],
      ['ReplaceChars("Straße", "ß:ss")', "Strasse"],
      ['ReplaceChars("abc", "ab:x")', { $error: null }],
      ['ReplaceChars(NULL, "a:b")', null],
      ['ReplaceChars([names], "ö:o")', ["Bjorn", "Ann"], { attributes: { names: ["Björn", "Ann"] } }],
    ],
  }),
  Right: define({
    takes: ["text: str", "count: int"],
    gives: "str",
    does: "The last `count` characters; all of `text` when `count` is negative or beyond its start.",
    source: entraReference("right"),
    ofNull: "",
    evaluate: (text, count) => (count < 0 ? text : text.slice(Math.max(0, text.length - count))),
    examples: [
      ['Right("John Doe", 3)', "Doe"],
      ['Right("John Doe", 0)', ""],
      ['Right("John Doe", -1)', "John Doe"],
      ['Right("John", 10)', "John"],
      ["Right(NULL, 3)", ""],
      ["Right([phones], 1)", ["3", "5"], { attributes: { phones: ["12-3", "45"] } }],
    ],
  }),
  RTrim: define({
    takes: ["text: str"],
    gives: "str",
    does: "Without the white space at the end.",
    source: entraReference("rtrim"),
    evaluate: (text) => text.trimEnd(),
    examples: [
      ['RTrim(" Test ")', " Test"],
      ["RTrim(NULL)", null],
      ["RTrim([names])", [" a", "b"], { attributes: { names: [" a ", "b"] } }],
    ],
  }),
  Trim: define({
    takes: ["text: str"],
    gives: "str",
    does: "Without the white space at both ends.",
    source: entraReference("trim"),
    evaluate: (text) => text.trim(),
    examples: [
      ['Trim(" Test ")', "Test"],
      ["Trim(NULL)", null],
      ["Trim([mails])", ["a@b", "c@d"], { attributes: { mails: [" a@b", "c@d "] } }],
    ],
  }),
  UCase: define({
    takes: ["text: str"],
    gives: "str",
    does: "All letters in upper case.",
    source: entraReference("ucase"),
    evaluate: (text) => upperCase(text),
    examples: [
      ['UCase("TeSt")', "TEST"],
      ['UCase("straße")', "STRAßE"],
      ["UCase(NULL)", null],
      ["UCase([mails])", ["A@B", "C@D"], { attributes: { mails: ["a@b", "c@d"] } }],
    ],
  }),
  Word: define({
    takes: ["text: str", "index: int|null", "delimiters: str|null"],
    gives: "str",
    does: 'The `index`-th word of `text`, where any character of `delimiters` ends a word. Two delimiters in a row have an empty word between them; "" when there is no such word.',
    source: entraReference("word"),
    ofNull: "",
    evaluate: (text, index, delimiters) => {
      if (index === null || delimiters === null || index < 1) return "";
      const ends = oneOf(delimiters);
      let word = 1;
      let start = 0;
      for (let at = 0; at < text.length; at++) {
        if (!ends(text[at]!)) continue;
        if (word === index) return text.slice(start, at);
        word++;
        start = at + 1;
      }
      return word === index ? text.slice(start) : "";
    },
    examples: [
      ['Word("The quick brown fox", 3, " ")', "brown"],
      ['Word("This,string!has&many separators", 3, ",!&#")', "has"],
      ['Word("a;;b", 2, ";")', ""],
      ['Word("a b", 0, " ")', ""],
      ['Word(NULL, 1, " ")', ""],
      ['Word([mails], 1, "@")', ["ann", "bo"], { attributes: { mails: ["ann@a", "bo@b"] } }],
    ],
  }),
} satisfies FunctionTable;

/** As .NET's invariant culture: one character stays one, so that ß is no SS. */
export function upperCase(text: string): string {
  const upper = text.toUpperCase();
  if (upper.length === text.length) return upper;
  return Array.from(text, (character) => sameLength(character, character.toUpperCase())).join("");
}

export function lowerCase(text: string): string {
  const lower = text.toLowerCase();
  if (lower.length === text.length && !lower.includes("ς")) return lower;
  // Letter by letter also keeps Σ from becoming the final ς, which .NET does not do.
  return Array.from(text, (character) => sameLength(character, character.toLowerCase())).join("");
}

function sameLength(character: string, changed: string): string {
  return changed.length === character.length ? changed : character;
}

const letter = /^\p{L}/u;
const lowerLetter = /^\p{Ll}/u;
/** What .NET does not take for the end of a word: letters, marks, digits, control and unassigned characters. */
const insideWord = /^[\p{L}\p{M}\p{N}\p{C}]/u;

/** .NET's TextInfo.ToTitleCase: a word that holds a lower-case letter or an apostrophe has its rest lowered. */
export function titleCase(text: string): string {
  const characters = Array.from(text);
  let result = "";
  let at = 0;
  while (at < characters.length) {
    const first = characters[at]!;
    at++;
    if (!letter.test(first)) {
      result += first;
      continue;
    }
    result += upperCase(first);
    let hasLower = lowerLetter.test(first);
    let rest = "";
    for (; at < characters.length; at++) {
      const character = characters[at]!;
      if (character === "'") {
        rest += character;
        result += hasLower ? lowerCase(rest) : rest;
        rest = "";
        hasLower = true;
        continue;
      }
      if (!insideWord.test(character)) break;
      if (lowerLetter.test(character)) hasLower = true;
      rest += character;
    }
    result += hasLower ? lowerCase(rest) : rest;
  }
  return result;
}

function assertPadding(name: string, length: number, padding: string): void {
  if (padding.length !== 1) fail("invalid-argument", `${name}: padding is one character.`);
  assertLength(length);
}

function withMonikers(text: string): string {
  return text.includes("\\")
    ? text.replace(/\\([nrt])/g, (_, moniker) => monikers[moniker as "n" | "r" | "t"])
    : text;
}
const monikers = { n: "\n", r: "\r", t: "\t" } as const;

function readReplacements(pattern: string): Map<string, string> {
  const replacements = new Map<string, string>();
  for (const pair of pattern.replace(/\s/g, "").split(",")) {
    if (pair === "") continue;
    const colon = pair.indexOf(":");
    const from = colon < 0 ? pair : pair.slice(0, colon);
    const to = pair.slice(colon + 1);
    if (colon < 0 || Array.from(from).length !== 1 || to.includes(":")) {
      fail("invalid-argument", "ReplaceChars: each pair is one character, a colon and its replacement.");
    }
    replacements.set(from, to);
  }
  return replacements;
}
