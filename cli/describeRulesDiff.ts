/** How a comparison of rules looks on a terminal. */
import colors from "picocolors";
import { shown } from "./describePreview.ts";
import { colorStatus, textTable } from "./print.ts";

export interface RulesDiff {
  readonly runId: string;
  readonly status: string;
  readonly counts: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly items: readonly {
    readonly connector: string;
    readonly id: string;
    readonly dn: string;
    readonly newDn?: string;
    readonly change: string;
    readonly reason: string;
    readonly attributes: readonly {
      readonly name: string;
      readonly before: unknown;
      readonly after: unknown;
      readonly rule: string;
    }[];
  }[];
  readonly continuation?: string;
}

export function describeRulesDiff({ runId, status, counts, items, continuation }: RulesDiff): string {
  const connectors = Object.entries(counts);
  const kinds = Object.keys(connectors[0]?.[1] ?? {}).filter((kind) =>
    connectors.some(([, of]) => (of[kind] ?? 0) > 0),
  );
  const parts = [`Run ${runId}: ${colorStatus(status)}`];
  if (kinds.length === 0) {
    parts.push("These rules treat every object as the active ones do.");
    return parts.join("\n");
  }
  parts.push(
    textTable(
      ["Connector", ...kinds],
      connectors.map(([name, of]) => [name, ...kinds.map((kind) => (of[kind] ?? 0).toLocaleString("en-US"))]),
    ),
    textTable(
      ["Connector", "Object", "Change", "Attributes"],
      items.map(({ connector, dn, newDn, change, reason, attributes }) => [
        connector,
        newDn === undefined ? dn : `${dn}\n→ ${newDn}`,
        change,
        attributes.length === 0
          ? reason
          : attributes
              .map(({ name, before, after, rule }) => `${name}: ${one(before)} → ${one(after)} (${rule})`)
              .join("\n"),
      ]),
    ),
  );
  if (continuation !== undefined)
    parts.push(`There are more: rules effects ${runId} --continuation '${continuation}'`);
  return parts.join("\n");
}

function one(value: unknown): string {
  return shown(value).replaceAll("\n", "; ") || colors.dim("(none)");
}
