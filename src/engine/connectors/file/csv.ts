/** Comma-separated values as RFC 4180 has them, with a delimiter of choice; the first line names the columns. */
import {
  byteOrderMark,
  type FileDocument,
  FileFormatError,
  type FileRecord,
  newlineOf,
  type RawAttribute,
} from "./document.ts";

interface Row {
  readonly line: number;
  readonly cells: readonly string[];
  /** Where the next row begins, in the text and as a line. */
  readonly next: number;
  readonly nextLine: number;
}

/**
 * A row with more or fewer cells than there are columns is a record with a problem: its values may stand in the wrong
 * columns. An empty cell is no value, an empty line no record.
 * @throws FileFormatError when a quotation does not end or text follows it, or two columns have one name.
 */
export function parseCsv(text: string, delimiter: string): FileDocument {
  const hasMark = text.startsWith(byteOrderMark);
  const table: Table = { text: hasMark ? text.slice(1) : text, delimiter, columns: [], keys: [] };
  const rows = readRows(table);
  const header = rows.next();
  if (header.done === true) throw new FileFormatError(1, "it is empty; the first line must name the columns");
  const columns = header.value.cells.map((cell) => cell.trim());
  const keys = columns.map((name) => name.toLowerCase());
  const twice = columns.find((_, index) => keys.indexOf(keys[index]!) !== index);
  if (twice !== undefined)
    throw new FileFormatError(header.value.line, `the column "${twice}" stands there twice`);
  const whole: Table = { ...table, columns, keys };
  const records: FileRecord[] = [];
  for (const { line, cells, start } of rows) {
    const problem = `it has ${cells.length} cells, and there are ${columns.length} columns`;
    records.push(
      cells.length === columns.length
        ? new CsvRecord(whole, line, start)
        : new CsvRecord(whole, line, start, problem),
    );
  }
  return { records, columns, newline: newlineOf(text), byteOrderMark: hasMark };
}

interface Table {
  readonly text: string;
  readonly delimiter: string;
  readonly columns: readonly string[];
  /** The columns in lower case. */
  readonly keys: readonly string[];
}

/** A place in the text: the values of hundreds of thousands of records are made when they are looked at, and not kept. */
class CsvRecord implements FileRecord {
  readonly line: number;
  readonly problem?: string;
  readonly #table: Table;
  readonly #start: number;

  constructor(table: Table, line: number, start: number, problem?: string) {
    this.#table = table;
    this.line = line;
    this.#start = start;
    if (problem !== undefined) this.problem = problem;
  }

  get attributes(): ReadonlyMap<string, RawAttribute> {
    const { columns, keys } = this.#table;
    const { cells } = readRow(this.#table, this.#start, this.line);
    const attributes = new Map<string, RawAttribute>();
    for (const [index, key] of keys.entries()) {
      const cell = cells[index] ?? "";
      if (cell !== "") attributes.set(key, { name: columns[index]!, values: [cell] });
    }
    return attributes;
  }
}

function* readRows(table: Table): Generator<Row & { readonly start: number }, undefined> {
  for (let start = 0, line = 1; start < table.text.length; ) {
    const row = readRow(table, start, line);
    if (row.cells.length > 1 || row.cells[0] !== "") yield { ...row, start };
    start = row.next;
    line = row.nextLine;
  }
  return undefined;
}

/** @param begun the line in which it begins */
function readRow({ text, delimiter }: Table, start: number, begun: number): Row {
  let position = start;
  let line = begun;
  const cells: string[] = [];
  for (;;) {
    let cell: string;
    if (text[position] === '"') {
      const quoted = readQuoted(text, position, line);
      ({ cell, position, line } = quoted);
    } else {
      const first = position;
      while (position < text.length && text[position] !== delimiter && !isNewline(text[position]!))
        position++;
      cell = text.slice(first, position);
    }
    cells.push(cell);
    if (text[position] !== delimiter) break;
    position++;
  }
  if (position < text.length) {
    if (!isNewline(text[position]!)) throw new FileFormatError(line, "text follows a quotation mark");
    position += text.startsWith("\r\n", position) ? 2 : 1;
    line++;
  }
  return { line: begun, cells, next: position, nextLine: line };
}

function readQuoted(
  text: string,
  start: number,
  begun: number,
): { cell: string; position: number; line: number } {
  let cell = "";
  for (let from = start + 1; ; ) {
    const end = text.indexOf('"', from);
    if (end < 0) throw new FileFormatError(begun, "a quotation begins here and does not end");
    cell += text.slice(from, end);
    if (text[end + 1] !== '"') {
      return { cell, position: end + 1, line: begun + cell.split(/\r\n|\r|\n/).length - 1 };
    }
    cell += '"';
    from = end + 2;
  }
}

const isNewline = (character: string) => character === "\n" || character === "\r";

export function printCsv(document: FileDocument, delimiter: string): string {
  const columns = document.columns ?? [];
  const rows = document.records.map(({ attributes }) =>
    columns.map((name) => String(attributes.get(name.toLowerCase())?.values[0] ?? "")),
  );
  const lines = [columns, ...rows].map((cells) =>
    cells.map((cell) => printCell(cell, delimiter)).join(delimiter),
  );
  const text = lines.map((line) => line + document.newline).join("");
  return document.byteOrderMark ? byteOrderMark + text : text;
}

function printCell(cell: string, delimiter: string): string {
  const plain = !cell.includes(delimiter) && !/["\r\n]|^\s|\s$/.test(cell);
  return plain ? cell : `"${cell.replaceAll('"', '""')}"`;
}
