import { createHash } from "node:crypto";
import {
  type Operation,
  type Properties,
  prefixRange,
  type Row,
  rowsOf,
  StoreError,
  type Tables,
} from "../ports/tables.ts";

/**
 * Long texts in a row. A property takes 32,768 UTF-16 units and a row 1 MiB, so a text above `inlineMax` lies in
 * spill rows named by its owner and its digest in the same partition, written before the row that points to them. Nothing is cut.
 */
const inlineMax = 24_000;
const partMax = 30_000;

/** Characters; a row takes 16 properties of the largest size. */
const pieceMax = 32_000;

/**
 * A text above what a property takes, in as many as it needs, for rows that must change in one operation. A row takes
 * about 500,000 characters.
 */
export function longText(name: string, text: string): Properties {
  const pieces = text.length <= pieceMax ? [text] : split(text, pieceMax);
  return Object.fromEntries(pieces.map((piece, index) => [index === 0 ? name : `${name}${index}`, piece]));
}

/** The text of `longText`; undefined when the row has none. */
export function longTextOf(row: Pick<Row, "properties">, name: string): string | undefined {
  const first = row.properties[name];
  if (first === undefined) return undefined;
  let text = String(first);
  for (let index = 1; row.properties[`${name}${index}`] !== undefined; index++)
    text += String(row.properties[`${name}${index}`]);
  return text;
}

export interface Spill {
  readonly digest: string;
  readonly parts: number;
}

export interface EncodedTexts {
  readonly properties: Properties;
  readonly spills: readonly Spill[];
  /** To be written, unfenced, before the row itself: they are named by their content, so writing twice is harmless. */
  readonly spillRows: readonly Operation[];
}

const spillRow = (spill: string, part: number) => `s|${spill}|${String(part).padStart(5, "0")}`;

/** Encodes the texts of `owner` by property name; an absent text leaves its property out. */
export function encodeTexts(owner: string, texts: Readonly<Record<string, string | null>>): EncodedTexts {
  const properties: Record<string, string> = {};
  const spills: Spill[] = [];
  const spillRows = new Map<string, Operation>();
  for (const [name, text] of Object.entries(texts)) {
    if (text === null) continue;
    if (text.length <= inlineMax) {
      properties[name] = text;
      continue;
    }
    const digest = `${owner}-${createHash("sha256").update(text).digest("base64url").slice(0, 22)}`;
    const parts = split(text, partMax);
    for (const [part, chunk] of parts.entries()) {
      const row = spillRow(digest, part);
      spillRows.set(row, { kind: "replace", row, properties: { text: chunk } });
    }
    properties[`${name}_spill`] = `${digest}:${parts.length}`;
    spills.push({ digest, parts: parts.length });
  }
  return { properties, spills, spillRows: [...spillRows.values()] };
}

/** Parts of at most `max` UTF-16 units; a character of two units stays whole, half of one is no text. */
function split(text: string, max: number): string[] {
  const parts: string[] = [];
  for (let from = 0; from < text.length; ) {
    let to = Math.min(from + max, text.length);
    if (to < text.length && /[\uD800-\uDBFF]/.test(text.charAt(to - 1))) to--;
    parts.push(text.slice(from, to));
    from = to;
  }
  return parts;
}

/** A property that holds a text, and the one that names its spill rows where it is too long. */
export interface TextColumn {
  readonly name: string;
  readonly pointer: string;
}

export function textColumns(...names: readonly string[]): readonly TextColumn[] {
  return names.map((name) => ({ name, pointer: `${name}_spill` }));
}

const noSpills: readonly Spill[] = [];

export function spillsOf(row: Row, columns: readonly TextColumn[]): readonly Spill[] {
  if (!columns.some(({ pointer }) => row.properties[pointer] !== undefined)) return noSpills;
  return columns.flatMap(({ pointer }) => {
    const named = row.properties[pointer];
    if (named === undefined) return [];
    const [digest, parts] = String(named).split(":");
    return [{ digest: digest!, parts: Number(parts) }];
  });
}

/** The rows of spills that nothing points to any more. */
export function spillDeletions(spills: readonly Spill[]): Operation[] {
  const unique = new Map(spills.map((spill) => [spill.digest, spill]));
  return [...unique.values()].flatMap(({ digest, parts }) =>
    Array.from({ length: parts }, (_, part): Operation => ({ kind: "delete", row: spillRow(digest, part) })),
  );
}

/** The texts of several properties in order; null when some of them lie in spill rows. */
export function inlineTexts(row: Row, columns: readonly TextColumn[]): readonly (string | null)[] | null {
  if (columns.some(({ pointer }) => row.properties[pointer] !== undefined)) return null;
  return columns.map(({ name }) => (row.properties[name] as string | undefined) ?? null);
}

/** The texts of several properties in order; only those in spill rows cost a request. @throws StoreError */
export function decodeTexts(
  tables: Tables,
  table: string,
  row: Row,
  columns: readonly TextColumn[],
): Promise<readonly (string | null)[]> {
  return Promise.all(columns.map(({ name }) => decodeText(tables, table, row, name)));
}

/** The text of a property, read from its spill rows where it has them; null when absent. @throws StoreError */
export async function decodeText(
  tables: Tables,
  table: string,
  row: Row,
  name: string,
): Promise<string | null> {
  const inline = row.properties[name];
  if (inline !== undefined) return String(inline);
  const [spill] = spillsOf(row, textColumns(name));
  if (spill === undefined) return null;
  let text = "";
  let parts = 0;
  for await (const part of rowsOf(tables, table, {
    partition: row.partition,
    ...prefixRange(`s|${spill.digest}|`),
  })) {
    text += String(part.properties.text);
    parts++;
  }
  if (parts !== spill.parts) {
    // The row has moved on since it was read; whoever wants it reads it again.
    throw new StoreError(
      "conflict",
      `${table} ${row.partition} ${row.row}: ${name} has ${parts} of ${spill.parts} parts.`,
    );
  }
  return text;
}

/** Splits a list into pieces of at most `max` by what each item counts; what counts more is a piece of its own. */
export function chunked<T>(items: readonly T[], size: (item: T) => number, max: number): T[][] {
  const chunks: T[][] = [];
  let chunk: T[] = [];
  let filled = 0;
  for (const item of items) {
    const itemSize = size(item);
    // Shares of a whole are fractions whose sum is not exact.
    if (chunk.length > 0 && filled + itemSize > max + 1e-9) {
      chunks.push(chunk);
      chunk = [];
      filled = 0;
    }
    chunk.push(item);
    filled += itemSize;
  }
  if (chunk.length > 0) chunks.push(chunk);
  return chunks;
}
