/**
 * MIM 2016's functions. Those that Entra Connect has under another name are the same code; the rest is here.
 * Numbers are taken for text, as its own `RightPad(RandomNum(1, 10), 5, "0")` needs. `+`, Concatenate, Null() and
 * CRLF() are not here: the parser turns them into the operator and the constants of the common tree.
 */
import type { Value } from "../../values.ts";
import { parseDateTime } from "../dates.ts";
import { compare, equals, fail } from "../evaluate.ts";
import { conversionFunctions } from "./conversion.ts";
import { formatted } from "./dateTime.ts";
import { define, defineForm, type FunctionTable, mimReference, renamed } from "./define.ts";
import { directoryFunctions } from "./directory.ts";
import { evaluationFunctions } from "./evaluation.ts";
import { mathFunctions } from "./math.ts";
import { programFlowFunctions } from "./programFlow.ts";
import { textFunctions } from "./text.ts";

export const mimFunctions = {
  BitAnd: renamed(["BitAnd", mathFunctions.BitAnd], "BitAnd", {
    source: mimReference("bitand"),
    examples: [
      ["BitAnd(-3, 514)", 512],
      ["BitAnd(2, userAccountControl)", 2, { attributes: { userAccountControl: 514 } }],
      ["BitAnd(Null(), 2)", 0],
      ["BitAnd(Flags, 2)", [2, 0], { attributes: { Flags: [3, 4] } }],
    ],
  }),
  BitOr: renamed(["BitOr", mathFunctions.BitOr], "BitOr", {
    source: mimReference("bitor"),
    examples: [
      ["BitOr(2, 512)", 514],
      ["BitOr(2, 514)", 514],
      ["BitOr(Null(), 2)", 2],
      ["BitOr(Flags, 2)", [3, 6], { attributes: { Flags: [3, 4] } }],
    ],
  }),
  ConvertSidToString: renamed(["StringFromSid", conversionFunctions.StringFromSid], "ConvertSidToString", {
    source: mimReference("convertsidtostring"),
    examples: [
      [
        "ConvertSidToString(ObjectSID)",
        "S-1-5-32-544",
        { attributes: { ObjectSID: { $bin: "AQIAAAAAAAUgAAAAIAIAAA==" } } },
      ],
      ["ConvertSidToString(ObjectSID)", { $error: null }, { attributes: { ObjectSID: { $bin: "AQI=" } } }],
      ["ConvertSidToString(Null())", null],
      [
        "ConvertSidToString(SIDs)",
        ["S-1-5-32-544"],
        { attributes: { SIDs: [{ $bin: "AQIAAAAAAAUgAAAAIAIAAA==" }] } },
      ],
    ],
  }),
  ConvertStringToGuid: renamed(["CGuid", conversionFunctions.CGuid], "ConvertStringToGuid", {
    source: mimReference("convertstringtoguid"),
    examples: [
      ['ConvertStringToGuid("00112233-4455-6677-8899-aabbccddeeff")', { $bin: "MyIRAFVEd2aImaq7zN3u/w==" }],
      ['ConvertStringToGuid("none")', { $error: null }],
      ["ConvertStringToGuid(Null())", null],
      [
        "ConvertStringToGuid(Ids)",
        [{ $bin: "MyIRAFVEd2aImaq7zN3u/w==" }],
        { attributes: { Ids: ["00112233-4455-6677-8899-aabbccddeeff"] } },
      ],
    ],
  }),
  DateTimeFormat: define({
    takes: ["date: str|dt", "format: str"],
    gives: "str",
    does: "The date, given as text, in a .NET format.",
    source: mimReference("datetimeformat"),
    evaluate: (date, format) => {
      const instant = typeof date === "string" ? parseDateTime(date) : date;
      if (instant === undefined) return fail("conversion-failed", "DateTimeFormat: the text is no date.");
      return formatted("DateTimeFormat", instant, format);
    },
    examples: [
      ['DateTimeFormat("12/25/2007", "yyyy-MM-dd")', "2007-12-25"],
      ['DateTimeFormat("soon", "yyyy-MM-dd")', { $error: null }],
      ['DateTimeFormat(Null(), "yyyy")', null],
      ['DateTimeFormat(Days, "MM")', ["01", "12"], { attributes: { Days: ["2024-01-01", "2024-12-01"] } }],
    ],
  }),
  Eq: comparison("Eq", "eq", "Whether two values are equal.", (a, b) => equals(undefined, "Eq", a, b), [
    true,
    false,
    false,
  ]),
  EscapeDNComponent: renamed(
    ["EscapeDNComponent", directoryFunctions.EscapeDNComponent],
    "EscapeDNComponent",
    {
      source: mimReference("escapednccomponent"),
      examples: [
        [
          'EscapeDNComponent("CN=" + DisplayName) + ",DC=com"',
          "CN=Doe\\, Jane,DC=com",
          { attributes: { DisplayName: "Doe, Jane" } },
        ],
        ['EscapeDNComponent("CN=a")', "CN=a"],
        ["EscapeDNComponent(Null())", null],
        ['EscapeDNComponent("CN=" + Names)', ["CN=a", "CN=b\\,c"], { attributes: { Names: ["a", "b,c"] } }],
      ],
    },
  ),
  GreaterThan: comparison(
    "GreaterThan",
    "greaterthan",
    "Whether the first value is larger.",
    (a, b) => compare(undefined, ">", a, b),
    [false, false, true],
  ),
  GreaterThanOrEquals: comparison(
    "GreaterThanOrEquals",
    "greaterthanorequals",
    "Whether the first value is larger or equal.",
    (a, b) => compare(undefined, ">=", a, b),
    [true, false, true],
  ),
  Guid: renamed(["Guid", programFlowFunctions.Guid], "Guid", {
    source: "rules of the FIM service management agent; not in the functions reference",
    examples: [
      ["Guid()", "80808080-8080-4080-8080-808080808080"],
      ["Left(Guid(), 4)", "8080"],
      ["IIF(IsPresent(Id), Id, Guid())", "7", { attributes: { Id: "7" } }],
    ],
  }),
  IIF: defineForm("IIF", {
    syntax: "IIF(condition, whenTrue, whenFalse)",
    gives: "any",
    does: programFlowFunctions.IIF.does,
    source: mimReference("iif"),
    examples: [
      [
        'IIF(Eq(EmployeeType, "Intern"), "t-" + Alias, Alias)',
        "t-bo",
        { attributes: { EmployeeType: "Intern", Alias: "bo" } },
      ],
      ['IIF(Eq(EmployeeType, "Intern"), "t-" + Alias, Alias)', "bo", { attributes: { Alias: "bo" } }],
      ["IIF(IsPresent(Mail), Mail, Null())", null],
      [
        'IIF(Eq(Left(Addresses, 4), "SIP:"), Null(), Addresses)',
        ["smtp:a@b"],
        { attributes: { Addresses: ["SIP:a@b", "smtp:a@b"] } },
      ],
    ],
  }),
  // MIM's objects hold no empty text, so there it is a test for null alone.
  IsPresent: renamed(["IsNull", evaluationFunctions.IsNull], "IsPresent", {
    does: "Whether there is a value; text that an expression has made empty is one.",
    source: mimReference("ispresent"),
    evaluate: (value) => evaluationFunctions.IsNull.evaluate(value) === false,
    examples: [
      ["IsPresent(Left(Mail, 1))", true],
      ["IsPresent(Mail)", false],
      ["IsPresent(Mail)", true, { attributes: { Mail: "a@b" } }],
      ["IsPresent(Null())", false],
      ["IsPresent(Mails)", true, { attributes: { Mails: ["a@b", "c@d"] } }],
    ],
  }),
  Left: renamed(["Left", textFunctions.Left], "Left", {
    source: mimReference("left"),
    examples: [
      ['Left("Britta Simon", 3)', "Bri"],
      ['Left("Britta", 9)', "Britta"],
      ["Left(Null(), 3)", ""],
      ["Left(Phones, 2)", ["12", "45"], { attributes: { Phones: ["12-3", "45"] } }],
    ],
  }),
  LeftPad: renamed(["PadLeft", textFunctions.PadLeft], "LeftPad", {
    source: mimReference("leftpad"),
    examples: [
      ['LeftPad("User", 10, "0")', "000000User"],
      ['LeftPad(7, 3, "0")', "007"],
      ['LeftPad(Null(), 3, "0")', ""],
      ['LeftPad(Ids, 3, "0")', ["007", "042"], { attributes: { Ids: ["7", "42"] } }],
    ],
  }),
  LessThan: comparison(
    "LessThan",
    "lessthan",
    "Whether the first value is smaller.",
    (a, b) => compare(undefined, "<", a, b),
    [false, true, false],
  ),
  LessThanOrEquals: comparison(
    "LessThanOrEquals",
    "lessthanorequals",
    "Whether the first value is smaller or equal.",
    (a, b) => compare(undefined, "<=", a, b),
    [true, true, false],
  ),
  LowerCase: renamed(["LCase", textFunctions.LCase], "LowerCase", {
    source: mimReference("lowercase"),
    examples: [
      ['LowerCase("TeSt")', "test"],
      ["LowerCase(Mail)", "a@b", { attributes: { Mail: "A@B" } }],
      ["LowerCase(Null())", null],
      ["LowerCase(Mails)", ["a@b", "c@d"], { attributes: { Mails: ["A@b", "C@D"] } }],
    ],
  }),
  LTrim: renamed(["LTrim", textFunctions.LTrim], "LTrim", {
    source: mimReference("ltrim"),
    examples: [
      ['LTrim(" Test ")', "Test "],
      ["LTrim(Name)", "Ann", { attributes: { Name: " Ann" } }],
      ["LTrim(Null())", null],
      ["LTrim(Names)", ["a ", "b"], { attributes: { Names: [" a ", "b"] } }],
    ],
  }),
  Mid: define({
    takes: ["text: str", "start: int", "count: int"],
    gives: "str",
    does: '`count` characters from position `start`; unlike Entra Connect\'s, "" for a negative count.',
    source: mimReference("mid"),
    ofNull: "",
    evaluate: (text, start, count) => {
      if (count <= 0) return "";
      if (start < 1 || start > text.length) return text;
      return text.slice(start - 1, start - 1 + count);
    },
    examples: [
      ['Mid("Britta Simon", 3, 5)', "itta "],
      ['Mid("Britta Simon", 3, -1)', ""],
      ['Mid("Britta", 9, 1)', "Britta"],
      ["Mid(Null(), 1, 1)", ""],
      ["Mid(Phones, 2, 1)", ["2", "5"], { attributes: { Phones: ["12-3", "45"] } }],
    ],
  }),
  NotEquals: comparison(
    "NotEquals",
    "notequals",
    "Whether two values differ.",
    (a, b) => !equals(undefined, "NotEquals", a, b),
    [false, true, true],
  ),
  ProperCase: renamed(["PCase", textFunctions.PCase], "ProperCase", {
    source: mimReference("propercase"),
    examples: [
      ['ProperCase("$TEsT")', "$Test"],
      ['ProperCase(" TEsT")', " Test"],
      ["ProperCase(Null())", null],
      ["ProperCase(Names)", ["Ann", "Bo"], { attributes: { Names: ["ann", "bo"] } }],
    ],
  }),
  RandomNum: renamed(["RandomNum", mathFunctions.RandomNum], "RandomNum", {
    source: mimReference("randomnum"),
    examples: [
      ["RandomNum(0, 999)", 500],
      ["RandomNum(7, 7)", 7],
      ["RandomNum(Null(), 1)", { $error: "RandomNum: start is NULL." }],
      ["RandomNum(Starts, 10)", [6, 10], { attributes: { Starts: [1, 10] } }],
    ],
  }),
  ReplaceString: renamed(["Replace", textFunctions.Replace], "ReplaceString", {
    source: mimReference("replacestring"),
    examples: [
      ['ReplaceString("One Microsoft Way", "Way", "Street")', "One Microsoft Street"],
      ['ReplaceString("a.b", ".", "")', "ab"],
      ['ReplaceString(Null(), "a", "b")', null],
      ['ReplaceString(Phones, "-", "")', ["123", "45"], { attributes: { Phones: ["12-3", "45"] } }],
    ],
  }),
  Right: renamed(["Right", textFunctions.Right], "Right", {
    source: mimReference("right"),
    examples: [
      ['Right("Britta Simon", 3)', "mon"],
      ['Right("Britta", 9)', "Britta"],
      ["Right(Null(), 3)", ""],
      ["Right(Phones, 1)", ["3", "5"], { attributes: { Phones: ["12-3", "45"] } }],
    ],
  }),
  RightPad: renamed(["PadRight", textFunctions.PadRight], "RightPad", {
    source: mimReference("rightpad"),
    examples: [
      ['RightPad("User", 10, "0")', "User000000"],
      ['RightPad(RandomNum(1, 10), 5, "0")', "60000"],
      ['RightPad(Null(), 3, "0")', ""],
      ['RightPad(Ids, 3, "0")', ["700", "420"], { attributes: { Ids: ["7", "42"] } }],
    ],
  }),
  RTrim: renamed(["RTrim", textFunctions.RTrim], "RTrim", {
    source: mimReference("rtrim"),
    examples: [
      ['RTrim(" Test ")', " Test"],
      ["RTrim(Name)", "Ann", { attributes: { Name: "Ann " } }],
      ["RTrim(Null())", null],
      ["RTrim(Names)", [" a", "b"], { attributes: { Names: [" a ", "b"] } }],
    ],
  }),
  Trim: renamed(["Trim", textFunctions.Trim], "Trim", {
    source: mimReference("trim"),
    examples: [
      ['Trim(" Test ")', "Test"],
      ["Trim(Name)", "Ann", { attributes: { Name: " Ann " } }],
      ["Trim(Null())", null],
      ["Trim(Names)", ["a", "b"], { attributes: { Names: [" a ", "b"] } }],
    ],
  }),
  UpperCase: renamed(["UCase", textFunctions.UCase], "UpperCase", {
    source: mimReference("uppercase"),
    examples: [
      ['UpperCase("test")', "TEST"],
      ["UpperCase(Mail)", "A@B", { attributes: { Mail: "a@b" } }],
      ["UpperCase(Null())", null],
      ["UpperCase(Mails)", ["A@B", "C@D"], { attributes: { Mails: ["a@b", "c@d"] } }],
    ],
  }),
  Word: renamed(["Word", textFunctions.Word], "Word", {
    source: mimReference("word"),
    examples: [
      ['Word("Test;;Function", 2, ";")', ""],
      ['Word("Test;of%function;", 3, ";$&%")', "function"],
      ['Word("Test;of%function;", 0, ";$&%")', ""],
      ['Word(Null(), 1, ";")', ""],
      ['Word(Mails, 1, "@")', ["ann", "bo"], { attributes: { Mails: ["ann@a", "bo@b"] } }],
    ],
  }),
} satisfies FunctionTable;

/** @param results for 5 and 5, 4 and 5, 6 and 5 */
function comparison(
  name: string,
  anchor: string,
  does: string,
  holds: (a: Value | null, b: Value | null) => boolean,
  results: readonly [boolean, boolean, boolean],
) {
  return define({
    takes: ["left: any|null", "right: any|null"],
    gives: "bool",
    does,
    source: mimReference(anchor),
    alike: name === "Eq" || name === "NotEquals" ? "equality" : "order",
    evaluate: holds,
    examples: [
      [`${name}(5, 5)`, results[0]],
      [`${name}(Level, 5)`, results[1], { attributes: { Level: 4 } }],
      [`${name}(6, 5)`, results[2]],
      [`${name}(Level, 5)`, name === "NotEquals"],
      [`${name}(Levels, 5)`, results.slice(0, 2), { attributes: { Levels: [5, 4] } }],
    ],
  });
}
