/** How runs look on a terminal, and what everything that is shown there is made of. */
import { stripVTControlCharacters } from "node:util";
import Table from "cli-table3";
import colors from "picocolors";
import type { Examined } from "../src/engine/doctor.ts";
import type { ObjectError, Run, Step } from "./api.ts";

const errorsMax = 20;

/** What moves the cursor, colours the terminal, or turns the direction of what follows. */
const deceiving = /[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu;

/** On one line, as nothing but text. */
export function printable(text: string): string {
  return text.replaceAll(deceiving, "\ufffd");
}

/** An answer whose texts, wherever they stand in it, are nothing but text; lines stay lines. */
export function printableAll<Answer>(answer: Answer): Answer {
  if (typeof answer === "string")
    return answer.replaceAll(deceiving, (one) => (one === "\n" ? one : "\ufffd")) as Answer;
  if (Array.isArray(answer)) return answer.map(printableAll) as Answer;
  if (typeof answer !== "object" || answer === null) return answer;
  return Object.fromEntries(
    Object.entries(answer).map(([name, value]) => [printableAll(name), printableAll(value)]),
  ) as Answer;
}

/** A text table; the columns are as wide as their content. */
export function textTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const table = new Table({
    head: head.map((title) => colors.bold(title)),
    style: { head: [], border: colors.isColorSupported ? ["gray"] : [] },
  });
  table.push(...rows.map((row) => [...row]));
  const lines = table.toString().split("\n");
  // A line under the titles is enough: rows tell themselves apart.
  return lines
    .filter((line, index) => index < 3 || !stripVTControlCharacters(line).startsWith("├"))
    .join("\n");
}

/** Names and their values, one or more lines each; what has no value is left out. */
export function facts(pairs: readonly (readonly [name: string, value: string | undefined])[]): string {
  const known = pairs.filter((pair): pair is readonly [string, string] => Boolean(pair[1]));
  const width = Math.max(...known.map(([name]) => name.length)) + 2;
  return known
    .map(
      ([name, value]) => colors.bold(name.padEnd(width)) + value.replaceAll("\n", `\n${" ".repeat(width)}`),
    )
    .join("\n");
}

/** `2026-01-31 12:00:05 UTC` */
export function instant(iso: string): string {
  return `${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC`;
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
    `${run.id}: ${what} ${colorStatus(run.status)}, started ${instant(run.startedAt)} by ${run.trigger}` +
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
  const shown = (all: Readonly<Record<string, number>>) =>
    Object.entries(all)
      .filter(([, count]) => count !== 0)
      .sort(([a], [b]) => place(a) - place(b))
      .map(([name, count]) => `${name} ${count.toLocaleString("en-US")}`);
  // What flowed out; the rest of the targets' counters stands among the step's own.
  const outbound = Object.entries(step.outbound ?? {}).flatMap(([connector, { connectorFlow = 0 }]) =>
    shown({ connectorFlow }).map((text) => `${connector} ${text}`),
  );
  return [...shown(step.statistics ?? {}), ...outbound];
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

/** One line, and the remedy below it. */
export function describeFinding({ of, what, status, message, remedy }: Examined): string {
  const mark = {
    ok: colors.green("ok     "),
    warning: colors.yellow("warning"),
    failed: colors.red("FAILED "),
  }[status];
  const name = of === what ? of : `${of}, ${what}`;
  return `${mark} ${name}: ${message}${remedy === undefined ? "" : `\n        ${remedy}`}`;
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
