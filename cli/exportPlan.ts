/** `plan` and `approve`: what a connector would export, as a table, a page or a CSV file, and the approval of it. */
import { writeFileSync } from "node:fs";
import { type Command, InvalidArgumentError } from "commander";
import colors from "picocolors";
import type { Api, Run } from "./api.ts";
import { type Connector, type Values, valueText } from "./describe.ts";
import { describeHold, type Hold } from "./describeHistory.ts";
import type { Terminal } from "./insight.ts";
import { planPage } from "./planPage.ts";
import { facts, instant, printable, printableAll, textTable } from "./print.ts";

export interface PlanItem {
  readonly id: string;
  readonly anchor: string | null;
  readonly dn: string;
  readonly newDn?: string;
  readonly change: string;
  readonly reason: string;
  readonly attributes: readonly {
    readonly name: string;
    readonly before: Values | null;
    readonly after: Values | null;
    readonly rule: string;
  }[];
}

export interface ExportPlan {
  readonly connector: string;
  readonly hash: string;
  readonly state: string;
  readonly createdAt: string;
  readonly expiresAt: string | null;
  readonly counts: Readonly<Record<string, number>>;
  readonly items: readonly PlanItem[];
  /** Pending too, and no part of the plan; on its first page only, at most 100. */
  readonly onHold: readonly {
    readonly dn: string;
    readonly change: string;
    readonly hold: Hold;
  }[];
  readonly continuation?: string;
}

/** A plan with why it is held, if it is. */
export interface ShownPlan {
  readonly plan: ExportPlan;
  readonly held: Connector["exportsHeld"];
}

const pageMax = 1000;
const listedMax = 50;

export function addExportPlan(
  program: Command,
  {
    openApi,
    show,
    follow,
  }: Pick<Terminal, "openApi" | "show"> & {
    follow(api: Api, run: Run, options: { readonly wait?: boolean }): Promise<void>;
  },
): void {
  program
    .command("plan <connector>")
    .description("what the connector would export now: every change with before, after, rule and reason")
    .option("--html <file>", "write it as a page for a browser, whole")
    .option("--csv <file>", "write it as a table for a spreadsheet, whole")
    .option("--limit <number>", "list at most so many changes", wholeNumber, listedMax)
    .action(
      async (
        connector: string,
        options: { readonly html?: string; readonly csv?: string; readonly limit: number },
      ) => {
        const isWhole = options.html !== undefined || options.csv !== undefined;
        const api = openApi();
        const plan = await readPlan(api, connector, isWhole ? Number.POSITIVE_INFINITY : options.limit);
        const { exportsHeld: held } = await api.get<Connector>(
          `/connectors/${encodeURIComponent(connector)}`,
        );
        if (options.html !== undefined) writeFileSync(options.html, planPage({ plan, held }));
        if (options.csv !== undefined) writeFileSync(options.csv, planCsv(plan));
        if (!isWhole) show(plan, () => describePlan(printableAll({ plan, held })));
        else for (const file of [options.html, options.csv]) if (file) console.error(`Written: ${file}`);
      },
    );

  program
    .command("approve <connector> <hash>")
    .description("export exactly the plan with this hash, whatever its limits")
    .requiredOption("--why <text>", "the reason, kept with your name in the audit")
    .option("--wait", "follow the run to its end")
    .action(
      async (connector: string, hash: string, options: { readonly why: string; readonly wait?: boolean }) => {
        const api = openApi();
        const path = `/connectors/${encodeURIComponent(connector)}/export-plan/approve`;
        await follow(api, await api.post<Run>(path, { hash, why: options.why }), options);
      },
    );
}

export function wholeNumber(text: string): number {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1) throw new InvalidArgumentError("Give a whole number from 1.");
  return number;
}

/** The first `max` changes of the plan; its `continuation` says that there are more. */
async function readPlan(api: Api, connector: string, max: number): Promise<ExportPlan> {
  const path = `/connectors/${encodeURIComponent(connector)}/export-plan`;
  const limit = (left: number) => String(Math.min(left, pageMax));
  let plan = await api.get<ExportPlan>(path, { limit: limit(max) });
  while (plan.continuation !== undefined && plan.items.length < max) {
    const query = { limit: limit(max - plan.items.length), continuation: plan.continuation };
    const next = await api.get<ExportPlan>(path, query);
    plan = { ...next, items: [...plan.items, ...next.items], onHold: plan.onHold };
  }
  return plan;
}

// ---- the table ---------------------------------------------------------------------------------------------------

export function describePlan({ plan, held }: ShownPlan): string {
  const { connector, hash, state, createdAt, expiresAt, items, onHold, continuation } = plan;
  const waiting =
    onHold.length === 0
      ? []
      : [
          "Pending too, and no part of the plan:",
          textTable(
            ["Change", "Object", "On hold"],
            onHold.map(({ change, dn, hold }) => [colored(change), printable(dn), describeHold(hold)]),
          ),
        ];
  if (state === "done") {
    if (onHold.length === 0) return `Nothing is pending for ${connector}.`;
    return [`Nothing can be exported to ${connector}.`, ...waiting].join("\n");
  }
  const parts = [
    facts([
      ["Export plan of", connector],
      ["State", state === "held" ? colors.red(state) : state],
      [
        "Held because",
        held === null ? undefined : `${held.detail}\n(run ${held.runId}, ${instant(held.since)})`,
      ],
      ["Changes", countsText(plan)],
      ["Made", instant(createdAt)],
      ["Can be approved until", expiresAt === null ? undefined : instant(expiresAt)],
      ["Hash", hash],
    ]),
    textTable(
      ["Change", "Object", "Attribute", "Before", "After", "Rule"],
      items.flatMap((item) => rows(item)),
    ),
    ...waiting,
  ];
  if (continuation !== undefined)
    parts.push(`There are more. All of them: plan ${connector} --html plan.html`);
  if (state !== "approved") parts.push(`To export exactly this: approve ${connector} ${hash} --why "…"`);
  return parts.join("\n");
}

function rows({ change, dn, newDn, reason, attributes }: PlanItem): string[][] {
  const all = [
    ...(newDn === undefined ? [] : [["dn", printable(dn), printable(newDn), ""]]),
    ...attributes.map(({ name, before, after, rule }) => [
      name,
      before === null ? "" : valueText(name, before),
      after === null ? colors.dim("(removed)") : valueText(name, after),
      rule,
    ]),
  ];
  if (all.length === 0) all.push([colors.dim(reason), "", "", ""]);
  return all.map((cells, index) =>
    index === 0 ? [colored(change), printable(dn), ...cells] : ["", "", ...cells],
  );
}

function colored(change: string): string {
  return change === "delete" || change === "disable" ? colors.red(change) : change;
}

export function countsText({ counts }: ExportPlan): string {
  return Object.entries(counts)
    .filter(([, count]) => count > 0)
    .map(([kind, count]) => `${kind} ${count.toLocaleString("en-US")}`)
    .join(", ");
}

// ---- the spreadsheet ---------------------------------------------------------------------------------------------

/** One row for each attribute of each change. */
export function planCsv({ items }: ExportPlan): string {
  const head = ["change", "dn", "anchor", "attribute", "before", "after", "rule", "reason"];
  const lines = items.flatMap(({ change, dn, newDn, anchor, reason, attributes }) => {
    const line = (name: string, before: string, after: string, rule: string) => [
      ...[change, dn, anchor ?? "", name, before, after, rule, reason],
    ];
    const all = [
      ...(newDn === undefined ? [] : [line("dn", dn, newDn, "")]),
      ...attributes.map(({ name, before, after, rule }) =>
        line(
          name,
          before === null ? "" : valueText(name, before),
          after === null ? "" : valueText(name, after),
          rule,
        ),
      ),
    ];
    return all.length === 0 ? [line("", "", "", "")] : all;
  });
  // The mark tells spreadsheets that this is UTF-8.
  return `\ufeff${[head, ...lines].map((cells) => cells.map(csvCell).join(",")).join("\r\n")}\r\n`;
}

/** RFC 4180, and nothing that a spreadsheet would take for a formula. */
function csvCell(text: string): string {
  const safe = /^[=+\-@\t\r\n]/.test(text) && !/^-?\d+$/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
