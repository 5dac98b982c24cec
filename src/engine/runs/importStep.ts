import type { Configuration } from "../core/configuration.ts";
import { type Connector, ConnectorError } from "../ports/connector.ts";
import type { ConnectorState, StoredState } from "../stores/connectorState.ts";
import type { Counters } from "../stores/fence.ts";
import type { EngineParts } from "./engine.ts";
import { type Cursor, ImportJob, importKey, start } from "./importJob.ts";
import { withoutSeen } from "./importLimits.ts";
import { indexedFromTheStart } from "./reindexing.ts";
import type { Slice, SliceOutcome, StepHandler } from "./stepHandler.ts";

/** Full and delta imports: source → connector space. Never touches the metaverse. */
export class ImportStep implements StepHandler {
  readonly #parts: EngineParts;

  constructor(parts: EngineParts) {
    this.#parts = parts;
  }

  async work(slice: Slice): Promise<SliceOutcome> {
    const connector = await this.#parts.connector(slice.step.connector);
    const configuration = await this.#parts.configuration(slice.run.rulesVersion, slice.step.connector);
    const stored = await this.#state(slice, configuration);
    const job = new ImportJob(this.#parts, slice, connector, configuration, stored);
    const cursor =
      slice.cursor === null
        ? this.#begin(slice, connector, stored.state)
        : (JSON.parse(slice.cursor) as Cursor);
    try {
      return await job.run(cursor);
    } catch (error) {
      if (!(error instanceof ConnectorError) || error.kind !== "watermark-expired") throw error;
      await this.#parts.state.update(slice.step.connector, (state) => ({ ...state, watermark: null }));
      await this.#parts.seen.clear(importKey(slice));
      return await job.run(
        start(true, `The watermark was no longer honoured: a full import was made. ${error.message}`),
      );
    }
  }

  async #state({ step: { connector } }: Slice, configuration: Configuration): Promise<StoredState> {
    const stored = await this.#parts.state.read(connector);
    if (stored.state.fullImportAt !== null || stored.state.indexedBy !== null) return stored;
    await indexedFromTheStart(this.#parts, configuration, connector);
    return this.#parts.state.read(connector);
  }

  #begin(slice: Slice, connector: Connector, state: ConnectorState): Cursor {
    if (slice.step.type === "fullImport") return start(true, null);
    if (state.watermark === null) return start(true, "There is no watermark yet: a full import was made.");
    if (state.scopeHash !== connector.scopeHash) {
      return start(true, "Schema, filter or scope have changed: a full import was made.");
    }
    return start(false, null);
  }

  /** Only now: until the step has moved on, a replay still asks what was seen. */
  async finish(run: { readonly id: string }, step: { readonly number: number }): Promise<void> {
    await this.#parts.seen.clear({ runId: run.id, step: step.number - 1 });
  }

  async counted(
    run: { readonly id: string; readonly currentStep: number },
    step: { readonly connector: string; readonly number: number },
  ): Promise<Counters> {
    const key = { runId: run.id, step: step.number - 1 };
    return withoutSeen(await this.#parts.connectorSpace.counted(step.connector, key));
  }
}
