import { app, type InvocationContext } from "@azure/functions";
import { stepMessageSchema } from "../api/stepMessage.ts";
import { engine, settings } from "../composition.ts";
import type { StepQueue } from "../engine/ports/bus.ts";

// One message is one time slice of one shard of one step; a dead one ends its run only if nothing else can.
const functionsOf: Readonly<Record<StepQueue, readonly [work: string, deadLetters: string]>> = {
  "import-steps": ["importStep", "importDeadLetters"],
  "sync-steps": ["syncStep", "syncDeadLetters"],
  "export-steps": ["exportStep", "exportDeadLetters"],
};

for (const [queue, [work, deadLetters]] of Object.entries(functionsOf)) {
  const queueName = settings.queues[queue as StepQueue];
  app.serviceBusQueue(work, {
    connection: "ServiceBus",
    queueName,
    handler: async (message, context) => context.log(await engine.receive(stepMessageSchema.parse(message))),
  });
  app.serviceBusQueue(deadLetters, {
    connection: "ServiceBus",
    queueName: `${queueName}/$deadletterqueue`,
    handler: async (message, context) => {
      const parsed = stepMessageSchema.safeParse(message);
      const outcome = parsed.success
        ? await engine.protocol.receiveDeadLetter(parsed.data, reasonOf(context))
        : "not a message of ours; dropped";
      context.warn(`dead letter: ${outcome}`);
    },
  });
}

function reasonOf(context: InvocationContext): string {
  const properties = context.triggerMetadata?.applicationProperties as Record<string, unknown> | undefined;
  return String(
    context.triggerMetadata?.deadLetterReason ?? properties?.DeadLetterReason ?? "delivered too often",
  );
}
