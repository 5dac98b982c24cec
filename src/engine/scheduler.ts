/** The scheduler as an operator sees it. */
import type { Engine } from "./engine.ts";
import { isoTime } from "./runs/engine.ts";
import type { Schedule } from "./stores/schedule.ts";

export interface SchedulerState extends Schedule {
  /** NCRONTAB with six fields, UTC. */
  readonly cycleSchedule: string;
  readonly stagingMode: boolean;
  /** The id of the run; null when none is. */
  readonly cycleInProgress: string | null;
  readonly nextCycle: "initial" | "delta";
}

export class Scheduler {
  readonly #engine: Engine;
  readonly #cycleSchedule: string;

  constructor(engine: Engine, cycleSchedule: string) {
    this.#engine = engine;
    this.#cycleSchedule = cycleSchedule;
  }

  async state(): Promise<SchedulerState> {
    const engine = this.#engine;
    const [schedule, cycleInProgress, nextCycle] = await Promise.all([
      engine.schedule.get(),
      this.#cycleInProgress(),
      engine.nextCycle(),
    ]);
    return {
      ...schedule,
      cycleSchedule: this.#cycleSchedule,
      stagingMode: engine.options.stagingMode(),
      cycleInProgress,
      nextCycle,
    };
  }

  /** Survives a restart. A cycle in progress goes on to its end. */
  async setSuspended(suspended: boolean, changedBy: string): Promise<SchedulerState> {
    const { schedule, audit, options } = this.#engine;
    const at = isoTime(options.clock.now());
    await schedule.set({ suspended, changedAt: at, changedBy });
    const what = suspended ? "suspendSchedule" : "resumeSchedule";
    await audit.add({ at, who: changedBy, what, about: {}, why: null, details: {} });
    return this.state();
  }

  async #cycleInProgress(): Promise<string | null> {
    const { runs } = this.#engine;
    const open = await Promise.all((await runs.openIds()).map((id) => runs.get(id)));
    return open.find((stored) => stored !== undefined && stored.run.cycle !== null)?.run.id ?? null;
  }
}
