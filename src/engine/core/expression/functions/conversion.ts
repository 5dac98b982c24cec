/** Conversions. A value that cannot be converted is an error; the Is… functions of Evaluation ask first. */
import { createHash } from "node:crypto";
import { reference, type Value } from "../../values.ts";
import { formatDateTime, parseDateTime } from "../dates.ts";
import { assertLength, fail } from "../evaluate.ts";
import * as types from "../types.ts";
import { define, entraReference, type FunctionTable, outOfBoxRules } from "./define.ts";

export const conversionFunctions = {
  CBool: define({
    takes: ["value: bool|num|str"],
    gives: "bool",
    does: "True for True, a number other than 0, or the text True; False for NULL.",
    source: `${entraReference("cbool")}; NULL by out-of-box rules`,
    ofNull: false,
    evaluate: (value) => {
      if (typeof value === "boolean") return value;
      if (typeof value === "bigint") return value !== 0n;
      const word = value.trim().toLowerCase();
      if (word !== "true" && word !== "false")
        fail("conversion-failed", "CBool: the text is neither True nor False.");
      return word === "true";
    },
    examples: [
      ["CBool([attrib1] = [attrib2])", false, { attributes: { attrib1: "a", attrib2: "b" } }],
      ["CBool(BitAnd([groupType], -2147483648))", true, { attributes: { groupType: -2147483646 } }],
      ["CBool(NULL)", false],
      ['CBool("yes")', { $error: null }],
      ["CBool([flags])", [true, false], { attributes: { flags: [3, 0] } }],
    ],
  }),
  CBin: define({
    takes: ["number: num", "length: int"],
    gives: "bin",
    does: "The number as `length` bytes, the lowest first.",
    source: outOfBoxRules,
    evaluate: (number, length) => {
      if (length < 1 || length > 8) fail("invalid-argument", "CBin: the length is 1 to 8 bytes.");
      const bits = length * 8;
      if (BigInt.asIntN(bits, number) !== number && BigInt.asUintN(bits, number) !== number) {
        fail("number-out-of-range", "CBin: the number does not fit into so few bytes.");
      }
      const bytes = Buffer.alloc(8);
      bytes.writeBigUInt64LE(BigInt.asUintN(64, number));
      return new Uint8Array(bytes.subarray(0, length));
    },
    examples: [
      ["CBin(32, 2)", { $bin: "IAA=" }],
      ["CBin(-1, 1)", { $bin: "/w==" }],
      ["CBin(300, 1)", { $error: null }],
      ["CBin(NULL, 2)", null],
      ["CBin([n], 1)", [{ $bin: "AQ==" }, { $bin: "Ag==" }], { attributes: { n: [1, 2] } }],
    ],
  }),
  CDate: define({
    takes: ["text: str"],
    gives: "dt",
    does: "A date with optional time and zone, as .NET reads it in the invariant culture (month before day); UTC without a zone.",
    source: entraReference("cdate"),
    ofNull: "fails",
    evaluate: (text) => parseDateTime(text) ?? fail("conversion-failed", "CDate: the text is no date."),
    examples: [
      ['CDate("2013-01-10 4:00 PM -8")', { $dt: "2013-01-11T00:00:00Z" }],
      ['CDate("12/25/2007")', { $dt: "2007-12-25T00:00:00Z" }],
      ['CDate("2024-02-30")', { $error: null }],
      ["CDate(NULL)", { $error: "CDate: text is NULL." }],
      [
        "CDate([days])",
        [{ $dt: "2024-01-01T00:00:00Z" }, { $dt: "2024-01-02T00:00:00Z" }],
        { attributes: { days: ["2024-01-01", "2024-01-02"] } },
      ],
    ],
  }),
  CGuid: define({
    takes: ["text: str"],
    gives: "bin",
    does: "The 16 bytes of a GUID, with or without braces, in the order Active Directory and .NET store them.",
    source: entraReference("cguid"),
    evaluate: (text) => parseGuid(text) ?? fail("conversion-failed", "CGuid: the text is no GUID."),
    examples: [
      ['CGuid("00112233-4455-6677-8899-aabbccddeeff")', { $bin: "MyIRAFVEd2aImaq7zN3u/w==" }],
      ['CGuid("{00112233-4455-6677-8899-AABBCCDDEEFF}")', { $bin: "MyIRAFVEd2aImaq7zN3u/w==" }],
      ['CGuid("no guid")', { $error: null }],
      ["CGuid(NULL)", null],
      ["Count(CGuid([ids]))", 1, { attributes: { ids: ["00112233-4455-6677-8899-aabbccddeeff"] } }],
    ],
  }),
  CNum: define({
    takes: ["value: str|num|bin"],
    gives: "num",
    does: "The number in the text; binary, up to eight bytes, is read with the lowest byte first.",
    source: `${entraReference("cnum")}; of binary by out-of-box rules`,
    evaluate: (value) =>
      toNumber(value) ?? fail("conversion-failed", "CNum: the value is no 64-bit integer."),
    examples: [
      ['CNum("42")', 42],
      ['CNum("9223372036854775807")', { $int64: "9223372036854775807" }],
      ['CNum("4.2")', { $error: null }],
      ["CNum([key])", 513, { attributes: { key: { $bin: "AQI=" } } }],
      ["CNum(NULL)", null],
      ["CNum([n])", [1, -2], { attributes: { n: ["1", "-2"] } }],
    ],
  }),
  CRef: define({
    takes: ["dn: str|ref"],
    gives: "ref",
    does: "The reference to the object with this DN.",
    source: entraReference("cref"),
    evaluate: (dn) => (typeof dn === "string" ? reference(dn) : dn),
    examples: [
      [
        'CRef("CN=LC Services,CN=Microsoft," & %Forest.LDAP%)',
        { $ref: "CN=LC Services,CN=Microsoft,DC=fabrikam,DC=com" },
        { parameters: { "Forest.LDAP": "DC=fabrikam,DC=com" } },
      ],
      ["CRef(NULL)", null],
      ["CRef([dns])", [{ $ref: "CN=a" }, { $ref: "CN=b" }], { attributes: { dns: ["CN=a", "CN=b"] } }],
    ],
  }),
  CStr: define({
    takes: ["value: str|num|bool|ref|dt"],
    gives: "str",
    does: "The value as text: numbers in decimal, True or False, the DN of a reference, dates as M/d/yyyy h:mm:ss AM.",
    source: `${entraReference("cstr")}; of text by out-of-box rules`,
    caution: ([value = 0]) =>
      (value & types.dateTime) !== 0
        ? "Entra Connect writes the date in the server's culture; FormatDateTime says what you mean."
        : undefined,
    evaluate: (value) => toText(value),
    examples: [
      [
        "CStr([dn])",
        "cn=Joe,dc=contoso,dc=com",
        { attributes: { dn: { $ref: "cn=Joe,dc=contoso,dc=com" } } },
      ],
      ["CStr(-5)", "-5"],
      ["CStr(1 = 1)", "True"],
      ['CStr("a")', "a"],
      ['CStr(CDate("2024-01-02 15:04:05"))', "1/2/2024 3:04:05 PM"],
      ["CStr(NULL)", null],
      ["CStr([n])", ["1", "2"], { attributes: { n: [1, 2] } }],
    ],
  }),
  ConvertFromBase64: define({
    takes: ["text: str", "encoding?: encoding"],
    gives: "str",
    does: "The text that the Base64 holds, in UTF-16 unless another encoding is given.",
    source: entraReference("convertfrombase64"),
    evaluate: (text, encoding = "Unicode") => {
      const bytes =
        fromBase64(text) ?? fail("conversion-failed", "ConvertFromBase64: the text is not Base64.");
      return decode(bytes, encoding);
    },
    examples: [
      ['ConvertFromBase64("SABlAGwAbABvACAAdwBvAHIAbABkACEA")', "Hello world!"],
      ['ConvertFromBase64("SGVsbG8gd29ybGQh", UTF8)', "Hello world!"],
      ['ConvertFromBase64("no base64!")', { $error: null }],
      ["ConvertFromBase64(NULL)", null],
      ["ConvertFromBase64([v], ASCII)", ["a", "b"], { attributes: { v: ["YQ==", "Yg=="] } }],
    ],
  }),
  ConvertToBase64: define({
    takes: ["value: str|bin"],
    gives: "str",
    does: "Base64 of binary as it is, and of text in UTF-16.",
    source: `${entraReference("converttobase64")}; the page's array of integers is binary, as out-of-box rules show`,
    evaluate: (value) => {
      assertLength(value.length * 3);
      return Buffer.from(typeof value === "string" ? Buffer.from(value, "utf16le") : value).toString(
        "base64",
      );
    },
    examples: [
      ['ConvertToBase64("Hello world!")', "SABlAGwAbABvACAAdwBvAHIAbABkACEA"],
      [
        "ConvertToBase64([objectGUID])",
        "EREAAKqqIiK7uzMzzMxERA==",
        { attributes: { objectGUID: { $bin: "EREAAKqqIiK7uzMzzMxERA==" } } },
      ],
      ["ConvertToBase64(NULL)", null],
      ["ConvertToBase64([v])", ["YQA=", "YgA="], { attributes: { v: ["a", "b"] } }],
    ],
  }),
  ConvertFromUTF8Hex: define({
    takes: ["text: str"],
    gives: "str",
    does: "The text whose UTF-8 bytes are written in hexadecimal.",
    source: entraReference("convertfromutf8hex"),
    evaluate: (text) => {
      if (text.length % 2 !== 0 || !/^[0-9A-Fa-f]*$/.test(text)) {
        fail("conversion-failed", "ConvertFromUTF8Hex: the text is not hexadecimal.");
      }
      return Buffer.from(text, "hex").toString("utf8");
    },
    examples: [
      ['ConvertFromUTF8Hex("48656C6C6F20776F726C6421")', "Hello world!"],
      ['ConvertFromUTF8Hex("4G")', { $error: null }],
      ["ConvertFromUTF8Hex(NULL)", null],
      ["ConvertFromUTF8Hex([v])", ["a", "ä"], { attributes: { v: ["61", "c3a4"] } }],
    ],
  }),
  ConvertToUTF8Hex: define({
    takes: ["text: str"],
    gives: "str",
    does: "The text's UTF-8 bytes in hexadecimal, capital letters.",
    source: entraReference("converttoutf8hex"),
    evaluate: (text) => {
      assertLength(text.length * 6);
      return Buffer.from(text, "utf8").toString("hex").toUpperCase();
    },
    examples: [
      ['ConvertToUTF8Hex("Hello world!")', "48656C6C6F20776F726C6421"],
      ["ConvertToUTF8Hex(NULL)", null],
      ["ConvertToUTF8Hex([v])", ["61", "C3A4"], { attributes: { v: ["a", "ä"] } }],
    ],
  }),
  StringFromGuid: define({
    takes: ["value: bin"],
    gives: "str",
    does: "The GUID of 16 bytes as text, in lower case and without braces.",
    source: entraReference("stringfromguid"),
    evaluate: (value) => {
      if (value.length !== 16) fail("conversion-failed", "StringFromGuid: a GUID has 16 bytes.");
      return formatGuid(value);
    },
    examples: [
      [
        "StringFromGuid([objectGUID])",
        "00112233-4455-6677-8899-aabbccddeeff",
        { attributes: { objectGUID: { $bin: "MyIRAFVEd2aImaq7zN3u/w==" } } },
      ],
      ["StringFromGuid([short])", { $error: null }, { attributes: { short: { $bin: "AQI=" } } }],
      ["StringFromGuid(NULL)", null],
      [
        "StringFromGuid([ids])",
        ["00112233-4455-6677-8899-aabbccddeeff"],
        { attributes: { ids: [{ $bin: "MyIRAFVEd2aImaq7zN3u/w==" }] } },
      ],
    ],
  }),
  StringFromSid: define({
    takes: ["value: bin"],
    gives: "str",
    does: "The security identifier as text, S-1-5-….",
    source: entraReference("stringfromsid"),
    evaluate: (value) => formatSid(value) ?? fail("conversion-failed", "StringFromSid: the value is no SID."),
    examples: [
      [
        "StringFromSid([objectSid])",
        "S-1-5-32-544",
        { attributes: { objectSid: { $bin: "AQIAAAAAAAUgAAAAIAIAAA==" } } },
      ],
      ["StringFromSid([objectSid])", { $error: null }, { attributes: { objectSid: { $bin: "AQI=" } } }],
      ["StringFromSid(NULL)", null],
      [
        "StringFromSid([sids])",
        ["S-1-5-32-544"],
        { attributes: { sids: [{ $bin: "AQIAAAAAAAUgAAAAIAIAAA==" }] } },
      ],
    ],
  }),
  Thumbprint: define({
    takes: ["value: bin"],
    gives: "bin",
    does: "The SHA-256 hash of the bytes, which the rules for key credentials put in as the key's hash.",
    source: `${outOfBoxRules}; [MS-ADTS] 2.2.20, KEYCREDENTIALLINK_BLOB`,
    evaluate: (value) => new Uint8Array(createHash("sha256").update(value).digest()),
    examples: [
      [
        "Thumbprint([key])",
        { $bin: "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=" },
        { attributes: { key: { $bin: "YWJj" } } },
      ],
      ["Len(Thumbprint([key]))", 32, { attributes: { key: { $bin: "AQ==" } } }],
      ["Thumbprint(NULL)", null],
      ["Count(Thumbprint([keys]))", 2, { attributes: { keys: [{ $bin: "AQ==" }, { $bin: "Ag==" }] } }],
    ],
  }),
} satisfies FunctionTable;

const guidPattern =
  /^(?:\{[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/i;
/** Where each byte of the text stands in the stored GUID: its first three groups are little-endian. */
const guidOrder = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15] as const;

export function parseGuid(text: string): Uint8Array | undefined {
  const trimmed = text.length > 64 ? text : text.trim();
  if (!guidPattern.test(trimmed)) return undefined;
  const bytes = Buffer.from(trimmed.replace(/[{}-]/g, ""), "hex");
  return Uint8Array.from(guidOrder, (from) => bytes[from]!);
}

export function formatGuid(bytes: Uint8Array): string {
  const hex = Buffer.from(guidOrder.map((from) => bytes[from]!)).toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** [MS-DTYP] 2.4.2.2: revision, count, authority in 6 bytes high first, sub-authorities in 4 bytes low first. */
export function formatSid(bytes: Uint8Array): string | undefined {
  const sid = Buffer.from(bytes);
  const count = sid[1] ?? 0;
  if (sid.length !== 8 + 4 * count || sid[0] !== 1 || count > 15) return undefined;
  const parts: number[] = [sid.readUIntBE(2, 6)];
  for (let i = 0; i < count; i++) parts.push(sid.readUInt32LE(8 + 4 * i));
  return `S-1-${parts.join("-")}`;
}

export function toNumber(value: Value): bigint | undefined {
  if (typeof value === "bigint") return value;
  if (value instanceof Uint8Array) {
    if (value.length < 1 || value.length > 8) return undefined;
    const bytes = Buffer.alloc(8);
    bytes.set(value);
    return bytes.readBigInt64LE();
  }
  if (typeof value !== "string" || value.length > 64 || !/^\s*[+-]?\d{1,19}\s*$/.test(value))
    return undefined;
  const number = BigInt(value.trim().replace(/^\+/, ""));
  return BigInt.asIntN(64, number) === number ? number : undefined;
}

export function toText(value: Exclude<Value, Uint8Array>): string {
  switch (typeof value) {
    case "string":
      return value;
    case "bigint":
      return String(value);
    case "boolean":
      return value ? "True" : "False";
    default:
      // The format has only known letters, so it is never undefined.
      return value.kind === "reference" ? value.dn : formatDateTime(value, "M/d/yyyy h:mm:ss tt")!;
  }
}

/** Undefined when the text is not Base64; Buffer would read on. */
export function fromBase64(text: string): Uint8Array | undefined {
  const compact = text.replace(/\s/g, "");
  if (compact.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(compact)) return undefined;
  return new Uint8Array(Buffer.from(compact, "base64"));
}

function decode(bytes: Uint8Array, encoding: string): string {
  const buffer = Buffer.from(bytes);
  if (encoding === "Unicode") return buffer.toString("utf16le");
  if (encoding === "UTF8") return buffer.toString("utf8");
  // .NET's ASCII gives a question mark for a byte that is none; Node would drop its high bit.
  return Buffer.from(bytes.map((byte) => (byte > 127 ? 63 : byte))).toString("latin1");
}
