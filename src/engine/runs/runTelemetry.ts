import type { Telemetry } from "../ports/telemetry.ts";
import type { Run, StepRecord } from "../stores/runs.ts";

/** Statuses (SEMANTICS H4) after which nobody has to do anything. */
const fine = new Set([
  "success",
  "completed-no-objects",
  "completed-warnings",
  "completed-transient-objects",
]);
/** The run was as it should be; single objects were not. */
const inPart = new Set(["completed-sync-errors", "completed-export-errors"]);
/** Somebody has to decide before anything is exported. */
const held =
  /^stopped-(?:(?:add|update|rename|disable|deletion|delete)-threshold-exceeded|approval-required)$/;
const refused = new Set(["no-start-credentials", "stopped-permission"]);

export type RunOutcome = "succeeded" | "succeeded-in-part" | "held" | "stopped" | "failed";

export function outcomeOf(status: string): RunOutcome {
  if (fine.has(status)) return "succeeded";
  if (inPart.has(status)) return "succeeded-in-part";
  if (held.test(status)) return "held";
  return status === "stopped-user" ? "stopped" : "failed";
}

export interface ErrorCount {
  readonly connector: string;
  readonly code: string;
  readonly count: number;
}

/** From what matters least to what matters most. */
const gravity: readonly RunOutcome[] = ["succeeded", "succeeded-in-part", "stopped", "held", "failed"];

/**
 * Tells of a run that has ended: one event of the run, one of each step that waits for somebody or was refused access,
 * and the metrics of its steps. A run goes on after rules that wait for approval, so its gravest step decides and not
 * the first one, which gives the run its status. Pure but for the telling.
 * @param errors objects in error of its steps
 */
export function tellRunEnded(telemetry: Telemetry, run: Run, errors: readonly ErrorCount[]): void {
  const { id, status, cycle, steps, trigger, startedAt } = run;
  const endedAt = run.endedAt ?? startedAt;
  const durationMs = between(startedAt, endedAt);
  const begun = steps.filter((step) => step.endedAt !== null);
  const outcome = [status, ...begun.map((step) => step.status)]
    .map(outcomeOf)
    .reduce((one, other) => (gravity.indexOf(other) > gravity.indexOf(one) ? other : one));
  const telling =
    steps.find((step) => step.status === status && outcomeOf(status) === outcome) ??
    begun.find((step) => outcomeOf(step.status) === outcome) ??
    begun.at(-1) ??
    steps[0]!;
  const what = cycle === null ? `${telling.connector} ${telling.profile}` : `${cycle} cycle`;
  const connector = telling.connector;
  const objects = objectsOf(telling, errors);
  const remedy = remedyOf(outcome, telling, id);
  telemetry.event(
    "RunEnded",
    { run: id, what, status, outcome, trigger, connector, objects, remedy, durationMs: String(durationMs) },
    id,
  );
  for (const step of begun) {
    const ended = outcomeOf(step.status);
    const isRefused = refused.has(step.status);
    if (ended !== "held" && !isRefused) continue;
    const told = {
      run: id,
      connector: step.connector,
      status: step.status,
      objects: objectsOf(step, errors),
      remedy: remedyOf(ended, step, id),
    };
    telemetry.event(isRefused ? "PermissionLost" : "ExportHeld", told, id);
  }

  telemetry.span(
    what,
    id,
    {
      startedAt: Date.parse(startedAt),
      endedAt: Date.parse(endedAt),
      failed: outcome === "failed",
      isRun: true,
    },
    { run: id, status, trigger },
  );
  telemetry.metric("vestibule.run.duration", durationMs, { what, outcome });
  for (const step of steps) {
    if (step.startedAt === null || step.endedAt === null) continue;
    const { connector, profile } = step;
    telemetry.metric("vestibule.step.duration", between(step.startedAt, step.endedAt), {
      connector,
      profile,
      status: step.status,
    });
    for (const [counter, count] of Object.entries(step.statistics)) {
      if (count !== 0) telemetry.metric("vestibule.objects", count, { connector, profile, counter });
    }
  }
  for (const { connector, code, count } of errors) {
    telemetry.metric("vestibule.errors", count, { connector, code });
  }
}

function between(from: string, to: string): number {
  return Math.max(0, Date.parse(to) - Date.parse(from));
}

/** `exportAdd 3, exportFailure 1; permission-issue 1` */
function objectsOf({ statistics, connector }: StepRecord, errors: readonly ErrorCount[]): string {
  const counted = Object.entries(statistics).filter(([, count]) => count !== 0);
  const parts = [
    counted.map(([name, count]) => `${name} ${count}`).join(", "),
    errors
      .filter((error) => error.connector === connector)
      .map(({ code, count }) => `${code} ${count}`)
      .join(", "),
  ];
  return parts.filter((part) => part !== "").join("; ") || "none";
}

/** What the step itself says comes first: it names what to grant, to approve or to repair. */
function remedyOf(outcome: RunOutcome, { connector, type, status, detail }: StepRecord, run: string): string {
  const look = `vestibule run show ${run}`;
  // Its detail is what a mistake of ours has said, which may be anything.
  if (status === "stopped-unexpected-error") return `A message of it could not be worked on. See ${look}.`;
  switch (outcome) {
    case "succeeded":
    case "stopped":
      return detail ?? "";
    case "held":
      // Rules that wait name their own approval; only exports have a plan.
      if (type !== "export" && detail !== null) return detail;
      return `${detail ?? "A limit was exceeded."} Look at the plan (vestibule plan ${connector}), then approve it or mend the cause.`;
    case "succeeded-in-part":
      return `${detail ?? "Single objects are in error and are tried again."} See ${look}.`;
    case "failed":
      return `${detail ?? "The run could not go on."} See ${look}.`;
  }
}
