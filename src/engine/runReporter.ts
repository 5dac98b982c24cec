import type { Telemetry } from "./ports/telemetry.ts";
import type { Clock } from "./runs/lease.ts";
import { type ErrorCount, outcomeOf, tellRunEnded } from "./runs/runTelemetry.ts";
import type { ConnectorSpaceStore } from "./stores/connectorSpace.ts";
import type { ConnectorStateStore } from "./stores/connectorState.ts";
import type { HistoryStore, Run, RunStore, StepRecord } from "./stores/runs.ts";

export interface ReporterParts {
  readonly telemetry: Telemetry;
  readonly clock: Clock;
  readonly runs: RunStore;
  readonly history: HistoryStore;
  readonly connectorSpace: ConnectorSpaceStore;
  readonly state: ConnectorStateStore;
  log(message: string): void;
}

/** Errors of a step that are counted by code: one request's worth. */
const errorsMax = 1_000;
/** Runs that are looked through for the last good cycle; if none of them is one and none is known, so many once. */
const recentRuns = 50;
const olderRuns = 1_000;

const changedSomething = ({ statistics }: StepRecord) =>
  Object.entries(statistics).some(([name, count]) => count !== 0 && name !== "stageNoChange");

/** Gathers what is told of runs. Telling never fails a run: what goes wrong here is logged. */
export class RunReporter {
  readonly #parts: ReporterParts;
  /** When a cycle has ended well last, as far as is known, or began the oldest that could be looked at; ISO 8601. */
  #goodUntil: string | null = null;

  constructor(parts: ReporterParts) {
    this.#parts = parts;
  }

  /** Of a run that has just ended. */
  async ended(run: Run): Promise<void> {
    const { telemetry, log } = this.#parts;
    try {
      tellRunEnded(telemetry, run, await this.#errors(run));
      // A run that changed nothing leaves what is pending as it was; an idle cycle stays cheap.
      if (run.steps.some(changedSomething)) await this.#pending(run);
      await telemetry.flush();
    } catch (error) {
      log(`Telemetry of run ${run.id} is incomplete: ${(error as Error).message}`);
    }
  }

  /** How long ago a cycle has ended well; where none is to be found, how long at least none has. */
  async cycleAge(): Promise<void> {
    const { telemetry, clock, log } = this.#parts;
    try {
      this.#goodUntil = goodEnd(await this.#cycles(recentRuns)) ?? this.#goodUntil;
      if (this.#goodUntil === null) {
        const older = await this.#cycles(olderRuns);
        this.#goodUntil = goodEnd(older) ?? older.at(-1)?.startedAt ?? null;
      }
      if (this.#goodUntil !== null)
        telemetry.metric("vestibule.cycle.age", clock.now() - Date.parse(this.#goodUntil), {});
    } catch (error) {
      log(`The age of the last cycle is not known: ${(error as Error).message}`);
    }
  }

  /** Those among the last runs, newest first. */
  async #cycles(among: number): Promise<readonly Run[]> {
    const { runs } = await this.#parts.runs.page(among);
    return runs.filter(({ cycle }) => cycle !== null);
  }

  async #errors(run: Run): Promise<readonly ErrorCount[]> {
    const counts = new Map<string, ErrorCount>();
    for (const [index, { connector, status }] of run.steps.entries()) {
      if (!status.endsWith("-errors")) continue;
      for (const { code } of await this.#parts.history.errors(run.id, index, errorsMax)) {
        const key = `${connector}\n${code}`;
        counts.set(key, { connector, code, count: (counts.get(key)?.count ?? 0) + 1 });
      }
    }
    return [...counts.values()];
  }

  async #pending(run: Run): Promise<void> {
    const { telemetry, clock, connectorSpace, state } = this.#parts;
    for (const connector of new Set(run.steps.map((step) => step.connector))) {
      const totals = await connectorSpace.totals(connector);
      for (const [counter, count] of Object.entries(totals)) {
        // import.add, export.delete and so on
        if (/^(import|export)\./.test(counter))
          telemetry.metric("vestibule.pending", count, { connector, kind: counter });
      }
      const { watermarkAt } = await state.get(connector);
      if (watermarkAt !== null)
        telemetry.metric("vestibule.watermark.age", clock.now() - Date.parse(watermarkAt), { connector });
    }
  }
}

/** Of the newest that ended well. */
function goodEnd(cycles: readonly Run[]): string | null {
  const good = cycles.find(
    ({ status, endedAt }) => endedAt !== null && outcomeOf(status).startsWith("succeeded"),
  );
  return good?.endedAt ?? null;
}
