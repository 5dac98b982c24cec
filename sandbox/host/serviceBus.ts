/**
 * Service Bus triggers and outputs through `@azure/service-bus`, so that the local host speaks to a real namespace
 * as to the local broker. Messages are settled here and not by the client, so that an invocation counts as running
 * until its message is settled.
 */
import { randomUUID } from "node:crypto";
import { DefaultAzureCredential } from "@azure/identity";
import {
  ServiceBusClient,
  type ServiceBusReceivedMessage,
  type ServiceBusReceiver,
  type ServiceBusSender,
} from "@azure/service-bus";
import { type TypedData, typedData } from "./coreApi.ts";
import type { FunctionApp, LogSink, Output, Trigger } from "./functionApp.ts";
import type { ServiceBusOptions } from "./hostFile.ts";
import {
  AppStartError,
  resolveSettings,
  type ServiceBusConnection,
  type Settings,
  serviceBusConnection,
} from "./settings.ts";

const deadLetterSuffix = /\/\$deadletterqueue$/i;

interface Listener {
  readonly functionName: string;
  readonly connection: ServiceBusConnection;
  readonly queueName: string;
}

export class ServiceBusBindings {
  readonly #app: FunctionApp;
  readonly #options: ServiceBusOptions;
  readonly #settings: Settings;
  readonly #log: LogSink;
  readonly #listeners: readonly Listener[];
  readonly #clients = new Map<string, ServiceBusClient>();
  readonly #senders = new Map<string, ServiceBusSender>();
  readonly #subscriptions: { close(): Promise<void> }[] = [];
  readonly #handling = new Set<Promise<void>>();
  #stops = false;

  /** @throws AppStartError when a trigger or output names no queue, or a setting that is not set */
  constructor(
    app: FunctionApp,
    triggers: readonly Trigger[],
    options: ServiceBusOptions,
    settings: Settings,
    log: LogSink,
  ) {
    this.#app = app;
    this.#options = options;
    this.#settings = settings;
    this.#log = log;
    this.#listeners = triggers.map((trigger) => this.#target(trigger));
    for (const output of app.outputs) if (output.binding.type === "serviceBus") this.#target(output);
  }

  /** Begins to receive. A queue that cannot be reached is logged and tried again until it can. */
  start(): void {
    for (const listener of this.#listeners) this.#listen(listener);
  }

  /** Calls the function of a Service Bus trigger by hand, with `body` as its message. */
  async invoke(functionName: string, body: string): Promise<void> {
    await this.send(await this.#app.invoke(functionName, { string: body }, metadataOf({ body }, 1)));
  }

  /** Sends what an invocation gave to its Service Bus outputs: each element of a list is a message of its own. */
  async send(outputs: readonly Output[]): Promise<void> {
    for (const { binding, value } of outputs) {
      if (binding.type !== "serviceBus" || value === undefined) continue;
      const { connection, queueName } = this.#target({ functionName: "output", binding });
      const messages = (Array.isArray(value) ? value : [value]).map((body) => ({
        messageId: randomUUID(),
        contentType: typeof body === "string" ? "text/plain" : "application/json",
        // A text goes as it is: given to the client, it would be sent as a JSON string, in quotes.
        body:
          body instanceof Uint8Array
            ? body
            : Buffer.from(typeof body === "string" ? body : JSON.stringify(body)),
      }));
      const key = `${JSON.stringify(connection)} ${queueName}`;
      let sender = this.#senders.get(key);
      if (sender === undefined) {
        sender = this.#client(connection).createSender(queueName);
        this.#senders.set(key, sender);
      }
      await sender.sendMessages(messages);
    }
  }

  /** Stops receiving; what runs goes on. */
  async stopReceiving(): Promise<void> {
    this.#stops = true;
    await Promise.all(this.#subscriptions.map((subscription) => subscription.close()));
  }

  /** Waits until every message in hand is settled, but not longer than `maxMs`; then closes the connections. */
  async close(maxMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const timedOut = new Promise<void>((done) => {
      timer = setTimeout(done, maxMs);
    });
    await Promise.race([Promise.all(this.#handling), timedOut]);
    clearTimeout(timer);
    await Promise.all([...this.#clients.values()].map((client) => client.close()));
  }

  #listen({ functionName, connection, queueName }: Listener): void {
    const deadLetters = deadLetterSuffix.test(queueName);
    const receiver = this.#client(connection).createReceiver(queueName.replace(deadLetterSuffix, ""), {
      receiveMode: "peekLock",
      maxAutoLockRenewalDurationInMs: this.#options.maxAutoLockRenewalDurationMs,
      // The host hands the text on and leaves it to the worker to see whether it is JSON.
      skipParsingBodyAsJson: true,
      ...(deadLetters ? { subQueueType: "deadLetter" as const } : {}),
    });
    let lastError = "";
    const subscription = receiver.subscribe(
      {
        processMessage: (message) => {
          const handling = this.#handle(functionName, receiver, message).finally(() => {
            this.#handling.delete(handling);
          });
          this.#handling.add(handling);
          return handling;
        },
        processError: async ({ error }) => {
          if (this.#stops) return; // a receiver that was just opening finds itself suspended
          // While a queue is out of reach, the client reports it again at every attempt.
          if (error.message !== lastError)
            this.#log("warning", `${queueName}: ${error.message}`, functionName);
          lastError = error.message;
        },
      },
      { maxConcurrentCalls: this.#options.maxConcurrentCalls, autoCompleteMessages: false },
    );
    this.#subscriptions.push(subscription);
  }

  async #handle(
    functionName: string,
    receiver: ServiceBusReceiver,
    message: ServiceBusReceivedMessage,
  ): Promise<void> {
    // The SDK of the host counts the present delivery in; the JavaScript client counts only those before it.
    const metadata = metadataOf(message, (message.deliveryCount ?? 0) + 1);
    try {
      await this.send(await this.#app.invoke(functionName, { string: textOf(message.body) }, metadata));
    } catch (error) {
      this.#log("error", (error as Error).stack ?? String(error), functionName);
      await this.#settle(functionName, () => receiver.abandonMessage(message));
      return;
    }
    if (this.#options.autoCompleteMessages) {
      await this.#settle(functionName, () => receiver.completeMessage(message));
    }
  }

  /** A message whose lock is gone comes again, to be settled then: a reason to say so, not to fail. */
  async #settle(functionName: string, settle: () => Promise<void>): Promise<void> {
    try {
      await settle();
    } catch (error) {
      this.#log("warning", `The message could not be settled: ${(error as Error).message}`, functionName);
    }
  }

  #target({ functionName, binding }: Trigger): Listener {
    const usedBy = `Function ${functionName}`;
    if (typeof binding.queueName !== "string" || typeof binding.connection !== "string") {
      throw new AppStartError(`${usedBy}: a Service Bus binding needs queueName and connection (no topics).`);
    }
    return {
      functionName,
      queueName: resolveSettings(binding.queueName, this.#settings, usedBy),
      connection: serviceBusConnection(binding.connection, this.#settings, usedBy),
    };
  }

  #client(connection: ServiceBusConnection): ServiceBusClient {
    const key = JSON.stringify(connection);
    let client = this.#clients.get(key);
    if (client === undefined) {
      client =
        connection.kind === "connectionString"
          ? new ServiceBusClient(connection.connectionString)
          : new ServiceBusClient(connection.namespace, new DefaultAzureCredential());
      this.#clients.set(key, client);
    }
    return client;
  }
}

/** The metadata that the host's Service Bus extension offers; absent properties of the message are left out. */
function metadataOf(
  message: Partial<ServiceBusReceivedMessage>,
  deliveryCount: number,
): Record<string, TypedData> {
  const values = {
    MessageId: message.messageId === undefined ? undefined : String(message.messageId),
    DeliveryCount: deliveryCount,
    SequenceNumber: message.sequenceNumber?.toNumber(),
    EnqueuedTimeUtc: message.enqueuedTimeUtc,
    ExpiresAtUtc: message.expiresAtUtc,
    LockToken: message.lockToken,
    ContentType: message.contentType,
    CorrelationId: message.correlationId === undefined ? undefined : String(message.correlationId),
    Subject: message.subject,
    To: message.to,
    ReplyTo: message.replyTo,
    SessionId: message.sessionId,
    PartitionKey: message.partitionKey,
    DeadLetterSource: message.deadLetterSource,
    DeadLetterReason: message.deadLetterReason,
    DeadLetterErrorDescription: message.deadLetterErrorDescription,
    ApplicationProperties: message.applicationProperties ?? {},
  };
  return Object.fromEntries(
    Object.entries(values)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => [name, typedData(value)]),
  );
}

/** The body as text: an AMQP data section is bytes, an AMQP value may be anything. */
function textOf(body: unknown): string {
  if (body instanceof Uint8Array) return Buffer.from(body).toString("utf8");
  return typeof body === "string" ? body : JSON.stringify(body);
}
