/** How runs, problems and lists of things look on a terminal. */
import Table from "cli-table3";
import colors from "picocolors";
import type { ObjectError, Run, Step } from "./api.ts";

const errorsMax = 20;

/** A text table; the columns are as wide as their content. */
export function textTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const table = new Table({
    head: head.map((title) => colors.bold(title)),
    style: { head: [], border: colors.isColorSupported ? ["gray"] : [] },
  });
  table.push(...rows.map((row) => [...row]));
  return table.toString();
}

/** A run as a table of its steps with their counters, then its errors, then how it ended. */
export function describeRun(run: Run): string {
  const rows = run.steps.map((step) => [
    String(step.number),
    step.connector,
    step.profile,
    colorStatus(step.status),
    duration(step.startedAt, step.endedAt),
    counters(step).join("\n"),
  ]);
  const errors = run.steps.flatMap((step) => (step.errors ?? []).map((error) => ({ step, error })));
  const details = run.steps
    .filter((step) => step.detail)
    .map((step) => `Step ${step.number}: ${step.detail}`);
  const what = run.cycle ? `${run.cycle} cycle` : "run";
  return [
    textTable(["Step", "Connector", "Run profile", "Status", "Duration", "Counters"], rows),
    ...details,
    ...errors.slice(0, errorsMax).map(({ step, error }) => `Step ${step.number}: ${describeError(error)}`),
    ...(errors.length > errorsMax ? [`… and ${errors.length - errorsMax} more errors.`] : []),
    `${run.id}: ${what} ${colorStatus(run.status)}, started ${run.startedAt} by ${run.trigger}` +
      (run.endedAt ? `, took ${duration(run.startedAt, run.endedAt)}.` : ", still running."),
  ].join("\n");
}

/** `code object (attribute, rule): message`, and below it where in a rules extension it was thrown. */
export function describeError(error: ObjectError): string {
  const object = error.dn ?? error.anchor;
  const where = [
    error.attribute ? `attribute ${error.attribute}` : "",
    error.rule ? `rule ${error.rule}` : "",
  ].filter((part) => part !== "");
  return (
    colors.red(error.code) +
    (object ? ` ${object}` : "") +
    (where.length > 0 ? ` (${where.join(", ")})` : "") +
    `: ${error.message}` +
    framesOf(error).join("")
  );
}

/** Counters as MIM lists them: staging, inbound, outbound, export. */
const counterOrder = [
  ...[
    "stageNoChange",
    "stageAdd",
    "stageUpdate",
    "stageRename",
    "stageDelete",
    "stageDeleteAdd",
    "stageFailure",
  ],
  ...[
    "disconnectorFiltered",
    "disconnectorJoinedNoFlow",
    "disconnectorJoinedFlow",
    "disconnectorJoinedRemoveMv",
  ],
  ...["disconnectorProjectedNoFlow", "disconnectorProjectedFlow", "disconnectorProjectedRemoveMv"],
  ...["disconnectorRemains", "connectorFilteredRemoveMv", "connectorFilteredLeaveMv", "connectorFlow"],
  ...["connectorFlowRemoveMv", "connectorNoFlow", "connectorDeleteRemoveMv", "connectorDeleteLeaveMv"],
  ...["connectorDeleteAddProcessed", "flowFailure"],
  ...["provisionedAddFlow", "provisionedAddNoFlow", "provisionedDeleteAddFlow", "provisionedDeleteAddNoFlow"],
  ...["provisionedDisconnect", "provisionedRenameFlow", "provisionedRenameNoFlow"],
  ...["exportAdd", "exportUpdate", "exportRename", "exportDelete", "exportDeleteAdd", "exportFailure"],
];

function framesOf({ stack = "" }: ObjectError): string[] {
  const frames = stack.split("\n").filter((line) => /^\s+at /.test(line));
  return frames.map((line) => `\n${colors.dim(line)}`);
}

/** The counters that are not zero, as `stageAdd 40`. */
export function counters(step: Step): string[] {
  const place = (name: string) => {
    const index = counterOrder.indexOf(name);
    return index < 0 ? counterOrder.length : index;
  };
  return Object.entries(step.statistics ?? {})
    .filter(([, count]) => count !== 0)
    .sort(([a], [b]) => place(a) - place(b))
    .map(([name, count]) => `${name} ${count.toLocaleString("en-US")}`);
}

/** Whether a run or step with this status did what it was asked to; an import that found nothing did. */
export function wentWell(status: string): boolean {
  return status === "success" || status === "completed-no-objects";
}

export function colorStatus(status: string): string {
  if (wentWell(status)) return colors.green(status);
  if (/^(waiting|queued|in-progress|completing)/.test(status)) return colors.cyan(status);
  return /^completed/.test(status) ? colors.yellow(status) : colors.red(status);
}

/** Time between two instants, up to now when there is no second: `0.8 s`, `12 s`, `3 min 5 s`, `2 h 10 min`. */
export function duration(from: string | null | undefined, to: string | null | undefined): string {
  if (!from) return "";
  const seconds = Math.max(0, (to ? Date.parse(to) : Date.now()) - Date.parse(from)) / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/**
 * Things of one kind as a table. Columns are the properties that any of them has: those in `first`, then the rest.
 */
export function describeItems(items: readonly object[], first: readonly string[] = []): string {
  if (items.length === 0) return "None.";
  const present = [...new Set(items.flatMap((item) => Object.keys(item)))];
  const columns = [
    ...first.filter((name) => present.includes(name)),
    ...present.filter((name) => !first.includes(name)),
  ];
  const rows = items.map((item) => columns.map((name) => cell((item as Record<string, unknown>)[name])));
  return textTable(columns, rows);
}

/** One thing as a table of its properties. */
export function describeItem(item: object): string {
  return textTable(
    ["Property", "Value"],
    Object.entries(item).map(([name, value]) => [name, cell(value)]),
  );
}

/** A value on one line, or a line for each part of a list or object. */
export function cell(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (typeof value !== "object") return String(value);
  if (Array.isArray(value)) return value.map(inline).join("\n");
  const marked = markedValue(value);
  if (marked !== undefined) return marked;
  return Object.entries(value)
    .filter(([, part]) => part !== null && part !== undefined)
    .map(([name, part]) => `${name}: ${inline(part)}`)
    .join("\n");
}

function inline(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (typeof value !== "object") return String(value);
  if (Array.isArray(value)) return value.map(inline).join(", ");
  const parts = Object.entries(value).filter(([, part]) => part !== null && part !== undefined);
  return markedValue(value) ?? parts.map(([name, part]) => `${name} ${inline(part)}`).join(", ");
}

/** Values that JSON has no form for: {"$dt":"…"}, {"$bin":"…"}, {"$int64":"…"}, {"$ref":"…"}. */
function markedValue(value: object): string | undefined {
  const [[mark, text] = [], ...more] = Object.entries(value);
  return more.length === 0 && /^\$(dt|bin|int64|ref)$/.test(mark ?? "") ? String(text) : undefined;
}
