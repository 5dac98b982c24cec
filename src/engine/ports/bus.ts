/** What a queue message says; its id is `runId:step:shard:seq:attempt`. Work and cursors lie in the checkpoint row. */
export interface StepMessage {
  readonly runId: string;
  readonly step: number;
  readonly shard: string;
  readonly seq: number;
  readonly attempt: number;
}

export type StepQueue = "import-steps" | "sync-steps" | "export-steps";

export interface Bus {
  /** Durable once it resolves. `at`: not delivered before. */
  send(queue: StepQueue, message: StepMessage, at?: Date): Promise<void>;
}

export function messageId({ runId, step, shard, seq, attempt }: StepMessage): string {
  return `${runId}:${step}:${shard}:${seq}:${attempt}`;
}
