/** A page of an import as it is staged: what can be worked out of it without asking the tables. */
import { imageDigest } from "../core/identity.ts";
import type { ImportEntry, ImportPage } from "../ports/connector.ts";
import { anchorHash } from "../stores/connectorSpaceRows.ts";

export type ObjectEntry = Extract<ImportEntry, { kind: "object" }>;
export type AbsentEntry = Extract<ImportEntry, { kind: "absent" }>;
type ErrorEntry = Extract<ImportEntry, { kind: "error" }>;

export interface ListedObject {
  readonly entry: ObjectEntry;
  readonly hash: string;
  readonly digest: string;
}

export interface SortedPage {
  readonly page: ImportPage;
  readonly objects: readonly ListedObject[];
  readonly absent: readonly AbsentEntry[];
  readonly failed: readonly ErrorEntry[];
  /** Of all that the source showed to be there, whether it could be read or not. */
  readonly anchorHashes: readonly string[];
}

/** Within a page the last entry of an object counts. */
export async function* sortedPages(pages: AsyncIterable<ImportPage>): AsyncGenerator<SortedPage> {
  for await (const page of pages) {
    const byAnchor = new Map<string, ObjectEntry | AbsentEntry>();
    const failed: ErrorEntry[] = [];
    for (const entry of page.entries) {
      if (entry.kind === "error") failed.push(entry);
      else byAnchor.set(entry.anchor, entry);
    }
    const objects: ListedObject[] = [];
    const absent: AbsentEntry[] = [];
    for (const entry of byAnchor.values()) {
      if (entry.kind === "absent") absent.push(entry);
      else objects.push({ entry, hash: anchorHash(entry.anchor), digest: imageDigest(entry.image) });
    }
    const unread = failed.flatMap(({ anchor }) => anchor ?? []).map(anchorHash);
    yield { page, objects, absent, failed, anchorHashes: [...objects.map(({ hash }) => hash), ...unread] };
  }
}
