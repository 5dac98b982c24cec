/** How holds, orphans, histories and the audit look on a terminal. */
import { shown } from "./describePreview.ts";
import { instant, textTable } from "./print.ts";

export interface Hold {
  readonly metaverseId: string;
  readonly why: string;
  readonly by: string;
  readonly since: string;
  readonly until: string | null;
}

export interface HistoryEntry {
  readonly at: string;
  readonly kind: string;
  readonly runId: string | null;
  readonly message: string;
  readonly attributes: readonly {
    readonly name: string;
    readonly before: unknown;
    readonly after: unknown;
    readonly rule: string | null;
  }[];
  readonly who?: string;
  readonly why?: string;
}

export interface AuditEntry {
  readonly at: string;
  readonly who: string;
  readonly what: string;
  readonly about: Readonly<Record<string, string>>;
  readonly why: string | null;
}

export function describeHold({ metaverseId, why, by, since, until }: Hold): string {
  const ends = until === null ? "until it is released" : `until ${instant(until)}`;
  return `${metaverseId} is on hold since ${instant(since)}, ${ends}, by ${by}: ${why}`;
}

export function describeHolds(holds: readonly Hold[]): string {
  if (holds.length === 0) return "Nobody is on hold.";
  return textTable(
    ["Metaverse object", "Since", "Until", "By", "Why"],
    holds.map(({ metaverseId, why, by, since, until }) => [
      metaverseId,
      instant(since),
      until === null ? "released" : instant(until),
      by,
      why,
    ]),
  );
}

export function describeHistory(entries: readonly HistoryEntry[]): string {
  if (entries.length === 0) return "No history.";
  return textTable(
    ["When", "What", "Changes"],
    entries.map(({ at, kind, message, attributes, who, why }) => [
      instant(at),
      kind,
      [
        message,
        ...(who === undefined ? [] : [`by ${who}${why === undefined ? "" : `: ${why}`}`]),
        ...attributes.map(({ name, before, after, rule }) => {
          const change = `${oneLine(before)} → ${oneLine(after)}`;
          return `  ${name}: ${change}${rule === null ? "" : ` (${rule})`}`;
        }),
      ].join("\n"),
    ]),
  );
}

function oneLine(value: unknown): string {
  return shown(value).replaceAll("\n", "; ") || "(none)";
}

export function describeAudit(entries: readonly AuditEntry[]): string {
  if (entries.length === 0) return "Nobody has done anything.";
  return textTable(
    ["When", "Who", "What", "About", "Why"],
    entries.map(({ at, who, what, about, why }) => [
      instant(at),
      who,
      what,
      Object.entries(about)
        .map(([name, value]) => `${name} ${value}`)
        .join("\n"),
      why ?? "",
    ]),
  );
}

export interface Orphan {
  readonly id: string;
  readonly dn: string;
  readonly stamp: string | null;
  readonly disabled: boolean | null;
  readonly reason: string;
  readonly next: { readonly change: string; readonly at: string } | null;
}

export function describeOrphans(orphans: readonly Orphan[]): string {
  if (orphans.length === 0) return "Every account belongs to somebody.";
  return textTable(
    ["Object", "Stamp", "Disabled", "Next", "Why", "Id"],
    orphans.map(({ id, dn, stamp, disabled, next, reason }) => [
      dn,
      stamp ?? "(none)",
      disabled === null ? "" : disabled ? "yes" : "no",
      next === null ? "" : `${next.change} ${instant(next.at)}`,
      reason,
      id,
    ]),
  );
}
