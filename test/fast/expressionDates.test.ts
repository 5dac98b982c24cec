import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  formatDateTime,
  fromParts,
  fromTicks,
  parseDateTime,
  partsOf,
} from "../../src/engine/core/expression/dates.ts";
import { type DateTime, dateTimeFromMs } from "../../src/engine/core/values.ts";

const instant: DateTime = {
  kind: "dateTime",
  ticks: dateTimeFromMs(Date.UTC(2009, 5, 5, 13, 4, 9)).ticks + 1_234_500n,
};

// The values are those of .NET's documentation of custom and standard format strings, for an instant in UTC.
describe(".NET formats", () => {
  test.each([
    ["d/M/y", "5/6/9"],
    ["%d", "5"],
    ["dd MM yy", "05 06 09"],
    ["ddd MMM yyy", "Fri Jun 2009"],
    ["dddd, MMMM yyyyy", "Friday, June 02009"],
    ["h:m:s t", "1:4:9 P"],
    ["hh:mm:ss tt", "01:04:09 PM"],
    ["H HH", "13 13"],
    ["s.f ss.ffff", "9.1 09.1234"],
    ["ss.fffffff", "09.1234500"],
    ["ss.FFFFFFF", "09.12345"],
    ["yyyyMMddHHmmss.0Z", "20090605130409.0Z"],
    ["z zz zzz K", "+0 +00 +00:00 Z"],
    ["g yyyy", "A.D. 2009"],
    ["'at' h \"o'clock\" \\d", "at 1 o'clock d"],
    ["d", "06/05/2009"],
    ["D", "Friday, 05 June 2009"],
    ["G", "06/05/2009 13:04:09"],
    ["o", "2009-06-05T13:04:09.1234500Z"],
    ["r", "Fri, 05 Jun 2009 13:04:09 GMT"],
    ["s", "2009-06-05T13:04:09"],
    ["u", "2009-06-05 13:04:09Z"],
    ["", "06/05/2009 13:04:09"],
    ["q", undefined],
    ["'open", undefined],
    ["ffffffff", undefined],
    ["yyyy\\", undefined],
  ])("%s", (format, expected) => expect(formatDateTime(instant, format)).toBe(expected));

  test("a whole second has no dot before optional digits", () => {
    expect(formatDateTime(dateTimeFromMs(0), "HH:mm:ss.FFF")).toBe("00:00:00");
  });
});

describe("reading", () => {
  test.each([
    ["2013-01-10 4:00 PM -8", "2013-01-11T00:00:00.0000000Z"],
    ["2013-01-10T16:00:00.25+01:30", "2013-01-10T14:30:00.2500000Z"],
    ["12/25/2007 12:05 am", "2007-12-25T00:05:00.0000000Z"],
    ["12/25/29", "2029-12-25T00:00:00.0000000Z"],
    ["1/2/30 4:00 PM", "1930-01-02T16:00:00.0000000Z"],
    ["5 Jun 2009", "2009-06-05T00:00:00.0000000Z"],
    ["Fri, 05 Jun 2009 13:04:09 GMT", "2009-06-05T13:04:09.0000000Z"],
    ["June 5, 2009 1:04 PM", "2009-06-05T13:04:00.0000000Z"],
    ["0099-02-03", "0099-02-03T00:00:00.0000000Z"],
    ["2009-02-29", undefined],
    ["2009-01-01 25:00", undefined],
    ["2009-01-01 13:00 PM", undefined],
    ["20090605130409.0Z", undefined],
    ["9999-12-31 23:00 -8", undefined],
    ["tomorrow", undefined],
    [`2009-01-01${" ".repeat(100)}`, undefined],
  ])("%s", (source, expected) => {
    const value = parseDateTime(source);
    expect(value && formatDateTime(value, "o")).toBe(expected);
  });

  test("what is written in the round-trip format is read back to the tick, for every instant", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -504_911_232_000_000_000n, max: 2_650_467_743_999_999_999n }), (ticks) => {
        const value = fromTicks(ticks)!;
        expect(parseDateTime(formatDateTime(value, "o")!)).toEqual(value);
        expect(fromParts(partsOf(value))).toEqual(value);
      }),
    );
  });
});
