/** LDIF content records (RFC 2849). A file of changes is refused: it says what happened, not what is. */
import {
  byteOrderMark,
  bytesOf,
  type FileDocument,
  FileFormatError,
  type FileRecord,
  newlineOf,
  type RawValue,
} from "./document.ts";

interface Line {
  readonly number: number;
  readonly text: string;
}

/** @throws FileFormatError for a line that is no attribute, a record without a DN, and records of changes. */
export function parseLdif(text: string): FileDocument {
  const hasMark = text.startsWith(byteOrderMark);
  const records: FileRecord[] = [];
  let open: Line[] = [];
  const close = () => {
    if (open.length > 0) records.push(recordOf(open));
    open = [];
  };
  for (const line of unfolded(hasMark ? text.slice(1) : text)) {
    if (line.text === "") close();
    else if (!line.text.startsWith("#")) {
      const isVersion = records.length === 0 && open.length === 0 && /^version:/i.test(line.text);
      if (!isVersion) open.push(line);
    }
  }
  close();
  return { records, newline: newlineOf(text), byteOrderMark: hasMark };
}

/** A line that begins with a blank goes on with the one before it. */
function* unfolded(text: string): Generator<Line> {
  let open: { number: number; text: string } | undefined;
  for (const [index, line] of text.split(/\r\n|\n/).entries()) {
    if (line.startsWith(" ") && open !== undefined && open.text !== "") {
      open.text += line.slice(1);
      continue;
    }
    if (open !== undefined) yield open;
    open = { number: index + 1, text: line };
  }
  if (open !== undefined) yield open;
}

function recordOf(lines: readonly Line[]): FileRecord {
  const [first, ...rest] = lines;
  const { name, value } = readLine(first!);
  if (name.toLowerCase() !== "dn")
    throw new FileFormatError(first!.number, "a record must begin with its dn");
  const attributes = new Map<string, { name: string; values: RawValue[] }>();
  for (const line of rest) {
    const read = readLine(line);
    const key = read.name.toLowerCase();
    if (key === "changetype") {
      throw new FileFormatError(line.number, "it lists changes (changetype); export the objects themselves");
    }
    if (read.value.length === 0) continue;
    const known = attributes.get(key);
    if (known === undefined) attributes.set(key, { name: read.name, values: [read.value] });
    else known.values.push(read.value);
  }
  return { line: first!.number, dn: textOf(value, first!.number), attributes };
}

function readLine({ number, text }: Line): { name: string; value: RawValue } {
  const match = /^([A-Za-z0-9][A-Za-z0-9.-]*(?:;[A-Za-z0-9-]+)*):(:|<|)[ ]*(.*)$/s.exec(text);
  if (match === null)
    throw new FileFormatError(number, "it is neither an attribute with a value nor a comment");
  const [, name, kind, rest] = match;
  if (kind === "<") throw new FileFormatError(number, `${name} is in another file (:<), which is not read`);
  const value = kind === ":" ? bytesOf(rest!) : rest!;
  if (value === undefined) throw new FileFormatError(number, `the value of ${name} is not base64`);
  return { name: name!, value };
}

function textOf(value: RawValue, line: number): string {
  if (typeof value === "string") return value;
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(value);
  } catch {
    throw new FileFormatError(line, "the dn is not UTF-8");
  }
}

/** RFC 2849 section 2, SAFE-STRING; anything else is given in base64. */
const safe = /^(?![ :<])[ -~]*(?<! )$/;

export function printLdif(document: FileDocument): string {
  const { newline } = document;
  const records = document.records.map((record) => {
    const lines = [
      printLine("dn", record.dn ?? ""),
      ...[...record.attributes.values()].flatMap(({ name, values }) =>
        values.map((one) => printLine(name, one)),
      ),
    ];
    return lines.map((line) => line + newline).join("");
  });
  const text = [`version: 1${newline}`, ...records].join(newline);
  return document.byteOrderMark ? byteOrderMark + text : text;
}

function printLine(name: string, value: RawValue): string {
  if (typeof value === "string" && safe.test(value)) return `${name}: ${value}`;
  return `${name}:: ${Buffer.from(value as string).toString("base64")}`;
}
