import type { TokenCredential } from "@azure/core-auth";
import { ServiceBusClient, type ServiceBusSender } from "@azure/service-bus";
import { type Bus, messageId, type StepMessage, type StepQueue } from "../ports/bus.ts";

/** Where the queues are: a connection string, or the namespace with an identity. */
export type BusAccount =
  | { readonly connectionString: string }
  | { readonly namespace: string; readonly credential: TokenCredential };

/** Sends step messages to Service Bus; receiving is the platform's. */
export class ServiceBus implements Bus {
  readonly #client: ServiceBusClient;
  /** The queue's real name, where it differs from ours. */
  readonly #names: Readonly<Record<StepQueue, string>>;
  readonly #senders = new Map<StepQueue, ServiceBusSender>();

  constructor(account: BusAccount, names: Readonly<Record<StepQueue, string>>) {
    const options = { retryOptions: { maxRetries: 4, retryDelayInMs: 500, timeoutInMs: 20_000 } };
    this.#client =
      "connectionString" in account
        ? new ServiceBusClient(account.connectionString, options)
        : new ServiceBusClient(account.namespace, account.credential, options);
    this.#names = names;
  }

  #sender(queue: StepQueue): ServiceBusSender {
    let sender = this.#senders.get(queue);
    if (sender === undefined) {
      sender = this.#client.createSender(this.#names[queue]);
      this.#senders.set(queue, sender);
    }
    return sender;
  }

  async send(queue: StepQueue, message: StepMessage, at?: Date): Promise<void> {
    await this.#sender(queue).sendMessages({
      body: message,
      contentType: "application/json",
      messageId: messageId(message),
      ...(at === undefined ? {} : { scheduledEnqueueTimeUtc: at }),
    });
  }

  /** Proves that every queue can be reached. @throws when one cannot */
  async ping(): Promise<void> {
    for (const queue of Object.keys(this.#names) as StepQueue[])
      await this.#sender(queue).createMessageBatch();
  }

  close(): Promise<void> {
    return this.#client.close();
  }
}
