/** Shows a run while it goes on: a line for each step, with its counters as they grow. */
import { setTimeout as sleep } from "node:timers/promises";
import { type Api, ApiError, type Run, type Step, UnreachableError } from "./api.ts";
import { colorStatus, counters, duration, printableAll } from "./print.ts";

export interface FollowOptions {
  readonly out: { write(text: string): unknown };
  /** Whether the last line can be written over. */
  readonly isTerminal: boolean;
  readonly pollMs?: number;
  /** On plain output, a step that goes on is shown again after this time, if it has got further. */
  readonly plainEveryMs?: number;
  /** How long the API may be out of reach: a host that was killed comes back. */
  readonly patienceMs?: number;
  readonly signal?: AbortSignal;
}

const eraseLine = "\r\x1b[2K";
/** A line that is longer than the terminal is cut there: of a wrapped one only a part could be erased. */
const cutLine = (line: string) => `\x1b[?7l${line}\x1b[?7h`;

/**
 * Polls a run until it has ended.
 * @returns the run as it ended, or as it was when `signal` was raised
 * @throws UnreachableError, or ApiError of status 5xx, when that lasts for longer than `patienceMs`; ApiError at once
 *   when there is no such run
 */
export async function followRun(api: Api, runId: string, options: FollowOptions): Promise<Run> {
  const { out, isTerminal, pollMs = 300, plainEveryMs = 2_000, patienceMs = 60_000, signal } = options;
  const finished = new Set<number>();
  let shownAt = 0;
  let shown = "";
  let lastContact = Date.now();

  const showFinished = (line: string) => {
    out.write(`${isTerminal ? eraseLine : ""}${line}\n`);
    shown = "";
  };
  const showRunning = (line: string) => {
    if (isTerminal) out.write(eraseLine + cutLine(line));
    else if (line !== shown && Date.now() - shownAt >= plainEveryMs) out.write(`${line}\n`);
    else return;
    shown = line;
    shownAt = Date.now();
  };

  for (;;) {
    let run: Run | undefined;
    try {
      run = printableAll(await api.run(runId));
      lastContact = Date.now();
    } catch (error) {
      const passing = error instanceof UnreachableError || (error instanceof ApiError && error.status >= 500);
      if (!passing || Date.now() - lastContact > patienceMs) throw error;
      showRunning("The API does not answer; waiting for it.");
    }
    if (run !== undefined) {
      for (const step of run.steps) {
        if (finished.has(step.number) || !step.endedAt) continue;
        finished.add(step.number);
        showFinished(describeStep(run, step));
        shownAt = Date.now();
      }
      const current = run.steps.find((step) => step.startedAt && !step.endedAt);
      if (current !== undefined && !run.endedAt) showRunning(describeStep(run, current));
      if (run.endedAt || signal?.aborted) {
        if (isTerminal) out.write(eraseLine);
        return run;
      }
    }
    await sleep(pollMs);
  }
}

/** `[2/9] AADMA Full Synchronization  success  1.4 s  disconnectorProjectedFlow 40` */
export function describeStep(run: Run, step: Step): string {
  return [
    `[${step.number}/${run.steps.length}] ${step.connector} ${step.profile}`,
    colorStatus(step.status),
    step.endedAt ? duration(step.startedAt, step.endedAt) : "",
    counters(step).join(", "),
    step.endedAt ? "" : whatHolds(step),
  ]
    .filter((part) => part !== "")
    .join("  ");
}

/** Why a step in progress gets no further, or does something other than usual. */
function whatHolds({ lastError, retryAt, detail, errors }: Step): string {
  if (lastError === undefined) return detail ?? errors?.at(-1)?.message ?? "";
  const waits = retryAt !== undefined && Date.parse(retryAt) > Date.now();
  return waits ? `${lastError} Tried again at ${new Date(retryAt).toLocaleTimeString("en-GB")}.` : lastError;
}
