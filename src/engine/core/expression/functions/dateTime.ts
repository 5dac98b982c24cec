/** Dates. All instants are UTC; the clock is an input of the evaluation. */
import type { DateTime } from "../../values.ts";
import { addDays, addMonths, formatDateTime, fromTicks, ticksPerSecond } from "../dates.ts";
import { assertLength, fail } from "../evaluate.ts";
import { define, defineWithContext, entraReference, type FunctionTable } from "./define.ts";

export const dateTimeFunctions = {
  DateAdd: define({
    takes: ["interval: str", "count: num", "date: dt"],
    gives: "dt",
    does: "The date moved by `count` intervals: yyyy years, q quarters, m months, y d w days, ww weeks, h hours, n minutes, s seconds. A day that the month does not have becomes its last.",
    source: entraReference("dateadd"),
    ofNull: "fails",
    evaluate: (interval, count, date) =>
      moved(interval, count, date) ??
      fail("number-out-of-range", "DateAdd: the date is not in the years 1 to 9999."),
    examples: [
      ['DateAdd("m", 3, CDate("2001-01-01"))', { $dt: "2001-04-01T00:00:00Z" }],
      ['DateAdd("m", 1, CDate("2001-01-31"))', { $dt: "2001-02-28T00:00:00Z" }],
      ['DateAdd("n", -90, CDate("2001-01-01"))', { $dt: "2000-12-31T22:30:00Z" }],
      ['DateAdd("x", 1, Now())', { $error: null }],
      ['DateAdd("d", 1, NULL)', { $error: "DateAdd: date is NULL." }],
      [
        'DateAdd("yyyy", 1, CDate([days]))',
        [{ $dt: "2025-01-01T00:00:00Z" }, { $dt: "2025-02-28T00:00:00Z" }],
        { attributes: { days: ["2024-01-01", "2024-02-29"] } },
      ],
    ],
  }),
  DateFromNum: define({
    takes: ["number: num"],
    gives: "dt",
    does: "The instant of a FILETIME, 100-nanosecond ticks since 1601. The two that Active Directory writes for never, 0 and 9223372036854775807, are for the rule to test first.",
    source: entraReference("datefromnum"),
    evaluate: (number) => {
      if (number < 0n) return fail("number-out-of-range", "DateFromNum: the number is negative.");
      return (
        fromTicks(number) ?? fail("number-out-of-range", "DateFromNum: the date is after the year 9999.")
      );
    },
    examples: [
      ["DateFromNum(129699324000000000)", { $dt: "2012-01-01T23:00:00Z" }],
      ["DateFromNum(0)", { $dt: "1601-01-01T00:00:00Z" }],
      ["DateFromNum(9223372036854775807)", { $error: null }],
      ["DateFromNum(NULL)", null],
      ["DateFromNum([times])", [{ $dt: "1601-01-01T00:00:01Z" }], { attributes: { times: [10000000] } }],
    ],
  }),
  FormatDateTime: define({
    takes: ["date: dt", "format: str"],
    gives: "str",
    does: "The date in a .NET custom or standard format, in UTC and the invariant culture.",
    source: entraReference("formatdatetime"),
    evaluate: (date, format) => formatted("FormatDateTime", date, format),
    examples: [
      ['FormatDateTime(CDate("12/25/2007"), "yyyy-MM-dd")', "2007-12-25"],
      ['FormatDateTime(DateFromNum(130543784930000000), "yyyyMMddHHmmss.0Z")', "20140905081453.0Z"],
      [
        `FormatDateTime(CDate("2024-02-03 16:05"), "ddd d MMM yy, h:mm tt 'Uhr'")`,
        "Sat 3 Feb 24, 4:05 PM Uhr",
      ],
      ['FormatDateTime(Now(), "ffffffff")', { $error: null }],
      ['FormatDateTime(NULL, "yyyy")', null],
      [
        'FormatDateTime(CDate([days]), "MM")',
        ["01", "12"],
        { attributes: { days: ["2024-01-01", "2024-12-01"] } },
      ],
    ],
  }),
  Now: defineWithContext({
    takes: [],
    gives: "dt",
    does: "The instant the evaluation is for.",
    source: entraReference("now"),
    evaluate: (context) => context.now,
    examples: [
      ["Now()", { $dt: "2026-08-01T12:00:00Z" }],
      ['FormatDateTime(DateAdd("d", 30, Now()), "yyyy-MM-dd")', "2026-08-31"],
      ['CDate("2020-01-01") < Now()', true],
    ],
  }),
  NumFromDate: define({
    takes: ["date: dt"],
    gives: "num",
    does: "The instant as FILETIME, 100-nanosecond ticks since 1601.",
    source: entraReference("numfromdate"),
    evaluate: (date) => date.ticks,
    examples: [
      ['NumFromDate(CDate("2012-01-01 23:00:00"))', { $int64: "129699324000000000" }],
      ['NumFromDate(CDate("1601-01-01"))', 0],
      ["NumFromDate(NULL)", null],
      ["NumFromDate(CDate([days]))", [0], { attributes: { days: ["1601-01-01"] } }],
    ],
  }),
} satisfies FunctionTable;

function moved(interval: string, count: bigint, date: DateTime): DateTime | undefined {
  switch (interval.toLowerCase()) {
    case "yyyy":
      return addMonths(date, count * 12n);
    case "q":
      return addMonths(date, count * 3n);
    case "m":
      return addMonths(date, count);
    case "y":
    case "d":
    case "w":
      return addDays(date, count);
    case "ww":
      return addDays(date, count * 7n);
    case "h":
      return fromTicks(date.ticks + count * 3600n * ticksPerSecond);
    case "n":
      return fromTicks(date.ticks + count * 60n * ticksPerSecond);
    case "s":
      return fromTicks(date.ticks + count * ticksPerSecond);
    default:
      return fail("invalid-argument", "DateAdd: the interval is one of yyyy, q, m, y, d, w, ww, h, n, s.");
  }
}

export function formatted(name: string, date: DateTime, format: string): string {
  assertLength(format.length * 9); // no letter is written longer, and few formats are
  return formatDateTime(date, format) ?? fail("invalid-argument", `${name}: the format is not one.`);
}
