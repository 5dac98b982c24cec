/**
 * Dates as .NET reads and writes them, in UTC and the invariant culture. Out-of-box rules depend on the custom format
 * strings (`yyyyMMddHHmmss.0Z`), whose letters no JavaScript library reads alike.
 * https://learn.microsoft.com/dotnet/standard/base-types/custom-date-and-time-format-strings
 */
import type { DateTime } from "../values.ts";

export const ticksPerSecond = 10_000_000n;
const ticksPerDay = 86_400n * ticksPerSecond;
/** 100-ns ticks from 1601-01-01 to 1970-01-01. */
const unixEpochTicks = 116_444_736_000_000_000n;

/** The instants .NET can hold, in ticks since 1601: years 1 to 9999. */
const ticksMin = -504_911_232_000_000_000n;
const ticksMax = 2_650_467_743_999_999_999n;

export interface DateParts {
  readonly year: number;
  /** 1 to 12. */
  readonly month: number;
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
  /** 100-ns ticks of the second. */
  readonly fraction: number;
}

const dayNames = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"] as const;
const monthNames = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December",
] as const;

/** Undefined outside the years 1 to 9999. */
export function fromTicks(ticks: bigint): DateTime | undefined {
  return ticks < ticksMin || ticks > ticksMax ? undefined : { kind: "dateTime", ticks };
}

export function daysInMonth(year: number, month: number): number {
  if (month === 2) return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0 ? 29 : 28;
  return [4, 6, 9, 11].includes(month) ? 30 : 31;
}

/** Undefined when there is no such day or time. */
export function fromParts(parts: DateParts): DateTime | undefined {
  const { year, month, day, hour, minute, second, fraction } = parts;
  if (year < 1 || year > 9999 || month < 1 || month > 12 || day < 1 || day > daysInMonth(year, month))
    return undefined;
  if (hour > 23 || minute > 59 || second > 59) return undefined;
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day); // Date.UTC would read the years 1 to 99 as 1901 to 1999
  date.setUTCHours(hour, minute, second);
  return fromTicks(BigInt(date.getTime()) * 10_000n + unixEpochTicks + BigInt(fraction));
}

export function partsOf(value: DateTime): DateParts {
  const seconds = floorDivide(value.ticks - unixEpochTicks, ticksPerSecond);
  const date = new Date(Number(seconds) * 1000);
  return {
    year: date.getUTCFullYear(),
    month: date.getUTCMonth() + 1,
    day: date.getUTCDate(),
    hour: date.getUTCHours(),
    minute: date.getUTCMinutes(),
    second: date.getUTCSeconds(),
    fraction: Number(value.ticks - unixEpochTicks - seconds * ticksPerSecond),
  };
}

function floorDivide(a: bigint, b: bigint): bigint {
  const quotient = a / b;
  return a % b < 0n ? quotient - 1n : quotient;
}

export function addDays(value: DateTime, days: bigint): DateTime | undefined {
  return fromTicks(value.ticks + days * ticksPerDay);
}

/** The day is cut to the month's last, as VBA does: January 31 and one month is February 28. */
export function addMonths(value: DateTime, months: bigint): DateTime | undefined {
  const parts = partsOf(value);
  const all = BigInt(parts.year * 12 + parts.month - 1) + months;
  if (all < 12n || all >= 120_000n) return undefined;
  const year = Math.floor(Number(all) / 12);
  const month = (Number(all) % 12) + 1;
  return fromParts({ ...parts, year, month, day: Math.min(parts.day, daysInMonth(year, month)) });
}

// ---- writing -----------------------------------------------------------------------------------------------------

/** One letter alone is a standard format; these are their custom forms in the invariant culture. */
const standardFormats: Readonly<Record<string, string>> = {
  d: "MM/dd/yyyy",
  D: "dddd, dd MMMM yyyy",
  f: "dddd, dd MMMM yyyy HH:mm",
  F: "dddd, dd MMMM yyyy HH:mm:ss",
  g: "MM/dd/yyyy HH:mm",
  G: "MM/dd/yyyy HH:mm:ss",
  m: "MMMM dd",
  M: "MMMM dd",
  o: "yyyy-MM-ddTHH:mm:ss.fffffffK",
  O: "yyyy-MM-ddTHH:mm:ss.fffffffK",
  r: "ddd, dd MMM yyyy HH:mm:ss 'GMT'",
  R: "ddd, dd MMM yyyy HH:mm:ss 'GMT'",
  s: "yyyy-MM-ddTHH:mm:ss",
  t: "HH:mm",
  T: "HH:mm:ss",
  u: "yyyy-MM-dd HH:mm:ssZ",
  U: "dddd, dd MMMM yyyy HH:mm:ss",
  y: "yyyy MMMM",
  Y: "yyyy MMMM",
};

/** Undefined when the format is not one: an open quote, a lone unknown letter, more than seven `f`. */
export function formatDateTime(value: DateTime, format: string): string | undefined {
  const custom = format === "" ? standardFormats.G : format.length === 1 ? standardFormats[format] : format;
  if (custom === undefined) return undefined;
  const parts = partsOf(value);
  let text = "";
  let at = 0;
  while (at < custom.length) {
    const letter = custom[at]!;
    if (letter === "'" || letter === '"') {
      const quoted = readQuoted(custom, at);
      if (quoted === undefined) return undefined;
      text += quoted.text;
      at = quoted.end;
      continue;
    }
    if (letter === "\\" || letter === "%") {
      const next = custom[at + 1];
      if (next === undefined || (letter === "%" && next === "%")) return undefined;
      if (letter === "%") {
        const one = formatLetters(value, parts, next, 1);
        if (one === undefined) return undefined;
        text += one;
      } else text += next;
      at += 2;
      continue;
    }
    let count = 1;
    while (custom[at + count] === letter) count++;
    const written = formatLetters(value, parts, letter, count);
    if (written === undefined) return undefined;
    // A dot before optional fraction digits that are all zero goes with them.
    if (letter === "F" && written === "" && text.endsWith(".")) text = text.slice(0, -1);
    text += written;
    at += count;
  }
  return text;
}

function readQuoted(format: string, start: number): { text: string; end: number } | undefined {
  let text = "";
  for (let at = start + 1; at < format.length; at++) {
    if (format[at] === format[start]) return { text, end: at + 1 };
    if (format[at] === "\\" && ++at >= format.length) return undefined;
    text += format[at];
  }
  return undefined;
}

function formatLetters(value: DateTime, parts: DateParts, letter: string, count: number): string | undefined {
  const padded = (part: number, widthMax: number) => String(part).padStart(Math.min(count, widthMax), "0");
  switch (letter) {
    case "d": {
      if (count <= 2) return padded(parts.day, 2);
      const name = dayNames[weekday(value)]!;
      return count === 3 ? name.slice(0, 3) : name;
    }
    case "M": {
      if (count <= 2) return padded(parts.month, 2);
      const name = monthNames[parts.month - 1]!;
      return count === 3 ? name.slice(0, 3) : name;
    }
    case "y":
      return count <= 2 ? padded(parts.year % 100, 2) : padded(parts.year, count);
    case "h":
      return padded(parts.hour % 12 === 0 ? 12 : parts.hour % 12, 2);
    case "H":
      return padded(parts.hour, 2);
    case "m":
      return padded(parts.minute, 2);
    case "s":
      return padded(parts.second, 2);
    case "t":
      return (parts.hour < 12 ? "AM" : "PM").slice(0, count === 1 ? 1 : 2);
    case "f":
    case "F": {
      if (count > 7) return undefined;
      const digits = String(parts.fraction).padStart(7, "0").slice(0, count);
      return letter === "f" ? digits : digits.replace(/0+$/, "");
    }
    case "g":
      return "A.D.";
    case "K":
      return "Z".repeat(count);
    case "z":
      return count === 1 ? "+0" : count === 2 ? "+00" : "+00:00";
    default:
      return letter.repeat(count);
  }
}

/** 0 is Sunday. 1601-01-01 was a Monday. */
function weekday(value: DateTime): number {
  const days = Number(floorDivide(value.ticks, ticksPerDay));
  return (((days + 1) % 7) + 7) % 7;
}

// ---- reading -----------------------------------------------------------------------------------------------------

const datePatterns = [
  /^(?<year>\d{4})[-/.](?<month>\d{1,2})[-/.](?<day>\d{1,2})(?=$|[T ])/,
  /^(?<month>\d{1,2})[-/.](?<day>\d{1,2})[-/.](?<year>\d{4}|\d{2})(?=$| )/,
  /^(?:[A-Za-z]{3,9},? )?(?<day>\d{1,2})[ -](?<name>[A-Za-z]{3,9}),?[ -](?<year>\d{4})(?=$| )/,
  /^(?:[A-Za-z]{3,9},? )?(?<name>[A-Za-z]{3,9}) (?<day>\d{1,2}),? (?<year>\d{4})(?=$| )/,
] as const;
const timePattern =
  /^[T ](?<hour>\d{1,2})(?::(?<minute>\d{2})(?::(?<second>\d{2})(?:\.(?<fraction>\d{1,7})\d*)?)?)?(?: ?(?<half>[AP]M))?(?=$|[ Z+-])/i;
const zonePattern = /^ ?(?:Z|GMT|UTC|(?<sign>[+-])(?<hours>\d{1,2})(?::?(?<minutes>\d{2}))?)$/i;
/** The longest text these forms can fill is far below. */
const textLengthMax = 64;

/**
 * A date with optional time and zone, as .NET's DateTime.Parse reads it in the invariant culture (month before day);
 * without a zone it is UTC. Undefined when it is none of the forms.
 */
export function parseDateTime(source: string): DateTime | undefined {
  if (source.length > textLengthMax) return undefined;
  const text = source.trim().replace(/\s+/g, " ");
  for (const pattern of datePatterns) {
    const date = pattern.exec(text);
    if (date === null) continue;
    const { year, month, name, day } = date.groups!;
    const monthNumber = name === undefined ? Number(month) : monthNumberOf(name);
    if (monthNumber === undefined) continue;
    let rest = text.slice(date[0].length);

    let hour = 0;
    const time = timePattern.exec(rest);
    if (time !== null) {
      rest = rest.slice(time[0].length);
      hour = Number(time.groups!.hour);
      const half = time.groups!.half?.toUpperCase();
      if (time.groups!.minute === undefined && half === undefined) return undefined;
      if (half !== undefined && (hour < 1 || hour > 12)) return undefined;
      if (half !== undefined) hour = (hour % 12) + (half === "PM" ? 12 : 0);
    }
    const local = fromParts({
      year: year!.length === 2 ? inCentury(Number(year)) : Number(year),
      month: monthNumber,
      day: Number(day),
      hour,
      minute: Number(time?.groups?.minute ?? 0),
      second: Number(time?.groups?.second ?? 0),
      fraction: Number((time?.groups?.fraction ?? "").padEnd(7, "0")),
    });
    if (local === undefined || rest === "") return local;

    const zone = zonePattern.exec(rest);
    if (zone === null) return undefined;
    const { sign, hours = "0", minutes = "0" } = zone.groups!;
    if (Number(hours) > 14 || Number(minutes) > 59) return undefined;
    const offset = BigInt(Number(hours) * 60 + Number(minutes)) * 60n * ticksPerSecond;
    return fromTicks(local.ticks + (sign === "-" ? offset : -offset));
  }
  return undefined;
}

/** As .NET Framework's invariant calendar, on which Entra Connect runs: 30 to 99 are of the 20th century. */
function inCentury(year: number): number {
  return year + (year < 30 ? 2000 : 1900);
}

function monthNumberOf(name: string): number | undefined {
  const lower = name.toLowerCase();
  const index = monthNames.findIndex((month) => {
    const full = month.toLowerCase();
    return full === lower || full.slice(0, 3) === lower;
  });
  return index < 0 ? undefined : index + 1;
}
