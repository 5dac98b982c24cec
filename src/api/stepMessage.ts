import { z } from "zod";

/** What a queue may bring; anything else is refused before it reaches the engine. */
export const stepMessageSchema = z.strictObject({
  runId: z.string().regex(/^\d{13}-[0-9a-f]{6}$/),
  step: z.int().min(0).max(999),
  /** A phase of one worker, or the shards of which one worker is the owner. */
  shard: z.string().regex(/^(main|references|[0-9a-f]{1,16})$/),
  seq: z.int().min(0),
  attempt: z.int().min(0),
});
