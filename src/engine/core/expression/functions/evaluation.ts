/** Questions about values: is there one, and can it be converted. */
import { parseDateTime } from "../dates.ts";
import type { Datum, FlowValue } from "../types.ts";
import { isList } from "../types.ts";
import { parseGuid, toNumber } from "./conversion.ts";
import { define, entraReference, type FunctionTable } from "./define.ts";

export const evaluationFunctions = {
  IsBitSet: define({
    takes: ["value: num", "flag: num"],
    gives: "bool",
    does: "Whether the bits of the mask `flag` are set; a mask, not the number of a bit. False for NULL.",
    source: entraReference("isbitset"),
    ofNull: false,
    evaluate: (value, flag) => (value & flag) === flag && flag !== 0n,
    examples: [
      ["IsBitSet(&HF, 4)", true],
      ["IsBitSet(514, 4)", false],
      ["IsBitSet(NULL, 4)", false],
      ["IsBitSet([flags], 2)", [true, false], { attributes: { flags: [3, 4] } }],
    ],
  }),
  IsDate: define({
    takes: ["value: any|null"],
    gives: "bool",
    does: "Whether CDate succeeds, or the value is a date already.",
    source: entraReference("isdate"),
    evaluate: (value) =>
      typeof value === "string"
        ? parseDateTime(value) !== undefined
        : typeof value === "object" && value !== null && "kind" in value && value.kind === "dateTime",
    examples: [
      ['IsDate("2024-01-31")', true],
      ['IsDate("soon")', false],
      ["IsDate(NULL)", false],
      ["IsDate([v])", [true, false], { attributes: { v: ["1/2/2024", "x"] } }],
    ],
  }),
  IsEmpty: define({
    takes: ["value: var"],
    gives: "bool",
    does: "Whether the value is present and has no characters or bytes.",
    source: entraReference("isempty"),
    evaluate: (value) => value !== null && !(isList(value) && value.length === 0) && isBlank(value),
    examples: [
      ["IsEmpty([displayName])", true, { attributes: { displayName: "" } }],
      ['IsEmpty("Joe")', false],
      ["IsEmpty(NULL)", false],
      ["IsEmpty([mails])", false, { attributes: { mails: ["a@b", ""] } }],
    ],
  }),
  IsGuid: define({
    takes: ["value: any|null"],
    gives: "bool",
    does: "Whether CGuid succeeds.",
    source: entraReference("isguid"),
    evaluate: (value) => typeof value === "string" && parseGuid(value) !== undefined,
    examples: [
      ["IIF(IsGuid([id]), CGuid([id]), NULL)", null, { attributes: { id: "not a guid" } }],
      ['IsGuid("{00112233-4455-6677-8899-aabbccddeeff}")', true],
      ["IsGuid(NULL)", false],
      ["IsGuid([v])", [false, false], { attributes: { v: ["a", "b"] } }],
    ],
  }),
  IsNull: define({
    takes: ["value: var"],
    gives: "bool",
    does: "Whether there is no value.",
    source: entraReference("isnull"),
    evaluate: (value) => isAbsent(value),
    examples: [
      ["IsNull([displayName])", true],
      ["IsNull([displayName])", false, { attributes: { displayName: "" } }],
      ["IsNull(NULL)", true],
      ["IsNull([mails])", false, { attributes: { mails: ["a@b"] } }],
    ],
  }),
  IsNullOrEmpty: define({
    takes: ["value: var"],
    gives: "bool",
    does: "Whether there is no value, or none with characters or bytes.",
    source: entraReference("isnullorempty"),
    evaluate: (value) => isAbsent(value) || isBlank(value),
    examples: [
      ["IsNullOrEmpty([displayName])", true, { attributes: { displayName: "" } }],
      ['IsNullOrEmpty("Joe")', false],
      ["IsNullOrEmpty(NULL)", true],
      ["IsNullOrEmpty([mails])", false, { attributes: { mails: ["", "a@b"] } }],
    ],
  }),
  IsNumeric: define({
    takes: ["value: any|null"],
    gives: "bool",
    does: "Whether the value is a number or CNum reads one from the text.",
    source: entraReference("isnumeric"),
    evaluate: (value) => value !== null && !(value instanceof Uint8Array) && toNumber(value) !== undefined,
    examples: [
      ['IsNumeric("42")', true],
      ['IsNumeric("4x")', false],
      ["IsNumeric(NULL)", false],
      ["IsNumeric([v])", [true, false], { attributes: { v: ["1", "a"] } }],
    ],
  }),
  IsPresent: define({
    takes: ["value: var"],
    gives: "bool",
    does: "The opposite of IsNullOrEmpty, for any type and for lists.",
    source: entraReference("ispresent"),
    evaluate: (value) => !(isAbsent(value) || isBlank(value)),
    examples: [
      [
        "Switch(IsPresent([directManager]), [directManager], IsPresent([director]), [director])",
        "carl",
        { attributes: { director: "carl" } },
      ],
      ['IsPresent("")', false],
      ["IsPresent(NULL)", false],
      ["IsPresent([mails])", true, { attributes: { mails: ["a@b"] } }],
    ],
  }),
  IsString: define({
    takes: ["value: any|null"],
    gives: "bool",
    does: "Whether CStr succeeds: for everything but binary and NULL.",
    source: `${entraReference("isstring")}; out-of-box rules tell text from binary with it`,
    evaluate: (value) => value !== null && !(value instanceof Uint8Array),
    examples: [
      ["IsString([objectGUID])", false, { attributes: { objectGUID: { $bin: "AQI=" } } }],
      ['IsString("a")', true],
      ["IsString(NULL)", false],
      ["IsString([v])", [true, true], { attributes: { v: ["a", "b"] } }],
    ],
  }),
} satisfies FunctionTable;

type Present = Exclude<Datum, FlowValue>;

function isAbsent(value: Present): boolean {
  return value === null || (isList(value) && value.length === 0);
}

function isBlank(value: Present): boolean {
  if (isList(value)) return value.every((entry) => isBlank(entry));
  return typeof value === "string" ? value === "" : value instanceof Uint8Array && value.length === 0;
}
