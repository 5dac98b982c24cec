/** Functions that take a list as a whole. */
import { comparisonKey, dnKey, type Value } from "../../values.ts";
import { assertLength, fail } from "../evaluate.ts";
import * as types from "../types.ts";
import { define, defineForm, entraReference, type FunctionTable, outOfBoxRules } from "./define.ts";
import { indexOf, splitBy } from "./search.ts";
import { upperCase } from "./text.ts";

const valueOfTheFirst = ([list = 0]: readonly types.Type[]): types.Type =>
  list & ~(types.many | types.nothing);
const listOfTheFirst = ([list = 0]: readonly types.Type[]): types.Type =>
  (list & ~types.nothing) | types.many;

const addresses = { attributes: { proxyAddresses: ["SMTP:john.doe@contoso.com", "smtp:jd@contoso.com"] } };

export const multiValuedFunctions = {
  Contains: define({
    takes: ["list: mvstr|mvref", "match: str|ref|null", "casing?: casing"],
    gives: "num",
    does: "The position of the first value that contains the text, or is the reference; 0 when there is none. Capitals count unless CaseInsensitive is given.",
    source: entraReference("contains"),
    evaluate: (list, match, casing = "CaseSensitive") => {
      if (match === null) return 0n;
      const fold = casing === "CaseInsensitive" ? upperCase : (text: string) => text;
      const wanted = fold(typeof match === "string" ? match : match.dn);
      let key: string | undefined;
      const position = list.findIndex((value) => {
        if (typeof value === "string") return indexOf(fold(value), wanted) >= 0;
        key ??= dnKey(typeof match === "string" ? match : match.dn);
        return dnKey(value.dn) === key;
      });
      return BigInt(position + 1);
    },
    examples: [
      ['Contains([proxyAddresses], "SMTP:")', 1, addresses],
      ['Contains([proxyAddresses], "JD@")', 0, addresses],
      ['Contains([proxyAddresses], "JD@", CaseInsensitive)', 2, addresses],
      [
        'Contains([members], "cn=b, dc=x")',
        2,
        { attributes: { members: [{ $ref: "CN=a,DC=x" }, { $ref: "CN=b,DC=x" }] } },
      ],
      ['Contains(NULL, "a")', 0],
    ],
  }),
  Count: define({
    takes: ["list: mvany"],
    gives: "num",
    does: "The number of values; 0 for NULL.",
    source: entraReference("count"),
    evaluate: (list) => BigInt(list.length),
    examples: [
      ["Count([proxyAddresses])", 2, addresses],
      ['Count("a")', 1],
      ["Count(NULL)", 0],
    ],
  }),
  Item: define({
    takes: ["list: mvany", "index: int"],
    gives: "any",
    does: "The `index`-th value, counted from 1. An error when there is none.",
    source: entraReference("item"),
    typeOfResult: valueOfTheFirst,
    evaluate: (list, index) =>
      list[index - 1] ?? fail("index-out-of-range", `Item: there are ${list.length} values.`),
    examples: [
      [
        'Mid(Item([proxyAddresses], Contains([proxyAddresses], "SMTP:")), 6)',
        "john.doe@contoso.com",
        addresses,
      ],
      ["Item([proxyAddresses], 3)", { $error: "Item: there are 2 values." }, addresses],
      ["Item(NULL, 1)", { $error: "Item: there are 0 values." }],
      ['Item("a", 1)', "a"],
    ],
  }),
  ItemOrNull: define({
    takes: ["list: mvany", "index: int"],
    gives: "any",
    does: "The `index`-th value, counted from 1; NULL when there is none.",
    source: entraReference("itemornull"),
    typeOfResult: valueOfTheFirst,
    evaluate: (list, index) => list[index - 1] ?? null,
    examples: [
      ["ItemOrNull([proxyAddresses], 2)", "smtp:jd@contoso.com", addresses],
      ["ItemOrNull([proxyAddresses], 3)", null, addresses],
      ["ItemOrNull(NULL, 1)", null],
    ],
  }),
  Join: define({
    takes: ["list: mvstr", "delimiter?: str"],
    gives: "str",
    does: 'The values in one text with the delimiter, a space when left out, between them; "" for NULL.',
    source: entraReference("join"),
    evaluate: (list, delimiter = " ") => {
      assertLength(list.reduce((all, value) => all + value.length + delimiter.length, 0));
      return list.join(delimiter);
    },
    examples: [
      ['Join([proxyAddresses], ",")', "SMTP:john.doe@contoso.com,smtp:jd@contoso.com", addresses],
      ["Join([proxyAddresses])", "SMTP:john.doe@contoso.com smtp:jd@contoso.com", addresses],
      ['Join(NULL, ",")', ""],
    ],
  }),
  RemoveDuplicates: define({
    takes: ["list: mvany"],
    gives: "mvany",
    does: "The list with the first of equal values only, in order. Text is equal to the letter, references when they name the same object.",
    source: entraReference("removeduplicates"),
    typeOfResult: listOfTheFirst,
    evaluate: (list) => {
      const seen = new Set<string>();
      return list.filter((value: Value) => {
        const key = comparisonKey(value, "exact");
        return seen.has(key) ? false : seen.add(key);
      });
    },
    examples: [
      ["RemoveDuplicates(Trim([mails]))", ["a@b", "A@b"], { attributes: { mails: ["a@b", "a@b ", "A@b"] } }],
      ['RemoveDuplicates("a")', ["a"]],
      ["RemoveDuplicates(NULL)", null],
    ],
  }),
  Select: defineForm("Select", {
    syntax: "Select($item, mvany list, expression)",
    gives: "mvany",
    does: "The expression's value for each value of the list, which it sees as `$item`. NULLs are left out.",
    source: entraReference("select"),
    examples: [
      [
        'Select($item, [otherPhone], Replace($item, "-", ""))',
        ["123", "45"],
        { attributes: { otherPhone: ["12-3", "45"] } },
      ],
      ['Select($x, "ab", Left($x, 1))', ["a"]],
      ["Select($item, NULL, Trim($item))", null],
    ],
  }),
  Split: define({
    takes: ["text: str", "delimiter: str", "limit?: int"],
    gives: "mvstr",
    does: "The parts of the text between delimiters of one character. With a limit, the last part keeps the rest.",
    source: entraReference("split"),
    evaluate: (text, delimiter, limit = -1) => {
      if (delimiter.length !== 1) return fail("invalid-argument", "Split: the delimiter is one character.");
      if (limit === 0 || limit < -1) return fail("invalid-argument", "Split: the limit is at least 1.");
      const parts = splitBy(text, delimiter);
      if (limit === -1 || parts.length <= limit) return parts;
      return [...parts.slice(0, limit - 1), parts.slice(limit - 1).join(delimiter)];
    },
    examples: [
      [
        'Split("SMTP:john.doe@contoso.com,smtp:jd@contoso.com", ",")',
        ["SMTP:john.doe@contoso.com", "smtp:jd@contoso.com"],
      ],
      ['Split("a,b,c", ",", 2)', ["a", "b,c"]],
      ['Split("a", "ab")', { $error: null }],
      ['Split(NULL, ",")', null],
      ['Split([lines], ";")', ["a", "b", "c"], { attributes: { lines: ["a;b", "c"] } }],
    ],
  }),
  ValueCount: defineForm("ValueCount", {
    syntax: 'ValueCount("attribute")',
    gives: "num",
    does: "The number of values of the named attribute.",
    source: outOfBoxRules,
    examples: [
      ['ValueCount("member")', 2, { attributes: { member: [{ $ref: "CN=a" }, { $ref: "CN=b" }] } }],
      ['ValueCount("cn")', 1, { attributes: { cn: "a" } }],
      ['ValueCount("member")', 0],
    ],
  }),
  Where: defineForm("Where", {
    syntax: "Where($item, mvany list, condition)",
    gives: "mvany",
    does: "The values of the list for which the condition, which sees each as `$item`, is True. NULL when there are none.",
    source: entraReference("where"),
    examples: [
      ['Where($item, [proxyAddresses], InStr($item, "smtp:") = 1)', ["smtp:jd@contoso.com"], addresses],
      ['Where($item, [proxyAddresses], $item = "x")', null, addresses],
      ["Where($item, NULL, True)", null],
    ],
  }),
  With: defineForm("With", {
    syntax: "With($name, var value, expression)",
    gives: "any",
    does: "The expression's value, which sees the value as `$name`. The value is computed once.",
    source: entraReference("with"),
    examples: [
      [
        'With($smtp, Where($item, [proxyAddresses], InStr($item, "smtp:") = 1), IIF(Count($smtp) > 0, $smtp, NULL))',
        ["smtp:jd@contoso.com"],
        addresses,
      ],
      ['With($x, "a", $x & $x)', "aa"],
      ["With($x, NULL, IsNull($x))", true],
    ],
  }),
} satisfies FunctionTable;
