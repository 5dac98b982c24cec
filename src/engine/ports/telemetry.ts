/**
 * What the engine tells whoever watches it. Names are a contract with infra/queries, the workbook and docs/monitoring.md.
 * Nothing here is secret or personal: no attribute values, no DNs, only names of connectors, rules' codes and ids.
 */

export type TelemetryEvent =
  /** Once per run. */
  | "RunEnded"
  /** A limit was exceeded, or an approval is required: exports of the connector wait for somebody. */
  | "ExportHeld"
  /** Graph, the directory or Azure refuses what is needed. */
  | "PermissionLost"
  /** A certificate ends soon. */
  | "CredentialExpiring";

export type Metric =
  /** MIM's counters of a step, as they are at its end. */
  | "vestibule.objects"
  /** Changes that wait, after a run. */
  | "vestibule.pending"
  /** Objects in error, by code. */
  | "vestibule.errors"
  /** Milliseconds. */
  | "vestibule.step.duration"
  /** Milliseconds. */
  | "vestibule.run.duration"
  /** Milliseconds since the changes that the last import brought. */
  | "vestibule.watermark.age"
  /** Milliseconds since a cycle has ended well. */
  | "vestibule.cycle.age"
  /** Waits that a connected system asked for. */
  | "vestibule.throttled"
  /** Requests to Table Storage: what is billed. */
  | "vestibule.storage.operations"
  /** Messages sent to Service Bus. */
  | "vestibule.queue.operations";

export type Dimensions = Readonly<Record<string, string>>;

export interface Telemetry {
  /** @param run its id joins everything of one run into one operation, whatever process it came from */
  event(name: TelemetryEvent, properties: Dimensions, run?: string): void;
  metric(name: Metric, value: number, dimensions: Dimensions): void;
  /** Work that has been done, within the operation of its run. */
  span(name: string, run: string, timing: SpanTiming, properties: Dimensions): void;
  /** Everything told so far is on its way when this ends; errors of the receiver are its own. */
  flush(): Promise<void>;
}

export interface SpanTiming {
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  readonly endedAt: number;
  readonly failed: boolean;
  /** The span that stands for the run itself: all others are under it. */
  readonly isRun?: boolean;
}

/** Where nobody watches. */
export const silence: Telemetry = {
  event: () => {},
  metric: () => {},
  span: () => {},
  flush: async () => {},
};
