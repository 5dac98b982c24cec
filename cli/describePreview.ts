/** How a preview looks on a terminal. */
import colors from "picocolors";
import { facts, instant, printable, textTable } from "./print.ts";

type Json = unknown;

interface Rule {
  readonly rule: string;
  readonly direction: string;
  readonly precedence: number;
  readonly inScope: boolean;
  readonly message: string;
}
interface Flow {
  readonly rule: string;
  readonly expression: string | null;
  readonly inputs: Readonly<Record<string, Json>>;
}
interface PendingExport {
  readonly change: string;
  readonly newDn?: string;
  readonly attributes: readonly (Flow & {
    readonly name: string;
    readonly before: Json;
    readonly after: Json;
  })[];
}

export interface Preview {
  readonly connector: string;
  readonly kind: string;
  readonly at: string;
  readonly rulesVersion: string;
  readonly summary: readonly string[];
  readonly before: { readonly dn: string; readonly state: string };
  readonly after: { readonly state: string } | null;
  readonly rules: readonly Rule[];
  readonly connection: {
    readonly joins: readonly { readonly rule: string; readonly group: number; readonly message: string }[];
  };
  readonly metaverse: {
    readonly attributes: readonly {
      readonly name: string;
      readonly before: Json;
      readonly after: Json;
      readonly contributions: readonly (Flow & {
        readonly value: Json;
        readonly connector: string;
        readonly won: boolean;
        readonly reason: string;
      })[];
    }[];
  } | null;
  readonly targets: readonly {
    readonly connector: string;
    readonly decision: string;
    readonly rules: readonly Rule[];
    readonly pendingExport: { readonly before: PendingExport | null; readonly after: PendingExport | null };
  }[];
}

/** A value on one line; nothing where there is none. */
export function shown(value: Json): string {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.map(shown).join("\n");
  if (typeof value !== "object") return printable(String(value));
  return printable(String(Object.values(value)[0] ?? ""));
}

function flowText({ expression, inputs }: Flow): string {
  const read = Object.entries(inputs).map(([name, value]) => `${name} = ${shown(value) || "(none)"}`);
  return [expression ?? "", ...read.map((line) => colors.dim(line))].filter((line) => line !== "").join("\n");
}

/** @param all every attribute, those that stay as they are too */
export function describePreview(preview: Preview, all = false): string {
  const { metaverse, connection } = preview;
  const parts = [
    facts([
      ["Object", `${preview.before.dn} of ${preview.connector}`],
      ["Preview", `${preview.kind}, ${instant(preview.at)}, rules ${preview.rulesVersion.slice(0, 12)}`],
      ["State", `${preview.before.state} → ${preview.after?.state ?? "gone"}`],
    ]),
    preview.summary.map((line) => `• ${line}`).join("\n"),
  ];
  if (preview.rules.length > 0) parts.push(rulesTable("Inbound rules", preview.rules));
  if (connection.joins.length > 0)
    parts.push(
      `${colors.bold("Joins")}\n${textTable(
        ["Rule", "Group", "Found"],
        connection.joins.map(({ rule, group, message }) => [rule, String(group), message]),
      )}`,
    );
  const attributes = metaverse?.attributes.filter(
    ({ before, after }) => all || JSON.stringify(before) !== JSON.stringify(after),
  );
  if (attributes !== undefined && attributes.length > 0)
    parts.push(
      `${colors.bold("Metaverse")}\n${textTable(
        ["Attribute", "Before", "After", "Rule", "Flow", "Why"],
        attributes.flatMap(({ name, before, after, contributions }) =>
          contributions.length === 0
            ? [[name, shown(before), shown(after), "", "", "Nobody offers a value any more."]]
            : contributions.map((one, index) => [
                index === 0 ? name : "",
                index === 0 ? shown(before) : "",
                one.won ? shown(after) : colors.dim(shown(one.value)),
                `${one.connector} ${one.rule}`,
                flowText(one),
                one.reason,
              ]),
        ),
      )}`,
    );
  for (const { connector, decision, rules, pendingExport } of preview.targets) {
    parts.push(rulesTable(`${connector}: ${decision}`, rules));
    const { before, after } = pendingExport;
    if (after === null && before !== null) parts.push(`Its pending ${before.change} is taken back.`);
    if (after !== null && after.attributes.length > 0)
      parts.push(
        textTable(
          ["Attribute", "Before", "After", "Rule", "Flow"],
          after.attributes.map((one) => [
            one.name,
            shown(one.before),
            shown(one.after),
            one.rule,
            flowText(one),
          ]),
        ),
      );
  }
  return parts.join("\n\n");
}

function rulesTable(title: string, rules: readonly Rule[]): string {
  if (rules.length === 0) return colors.bold(title);
  return `${colors.bold(title)}\n${textTable(
    ["Rule", "Precedence", "In scope", "Why"],
    rules.map(({ rule, precedence, inScope, message }) => [
      rule,
      String(precedence),
      inScope ? "yes" : "no",
      message,
    ]),
  )}`;
}
