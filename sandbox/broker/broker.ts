/**
 * An AMQP 1.0 broker that speaks enough Service Bus for `@azure/service-bus`: queues with peek-lock, dead letters,
 * scheduled and deferred messages, duplicate detection, and a journal on disk.
 *
 * Absent on purpose: topics, sessions, transactions, partitions, the HTTP administration interface, and any check of
 * credentials (it listens on the loopback address only).
 */
import { mkdirSync } from "node:fs";
import type { AddressInfo, Server, Socket } from "node:net";
import { join } from "node:path";
import type { Connection, Container, Delivery, EventContext, Message, Receiver, Sender } from "rhea";
import rhea from "rhea";
import { FileJournal, memoryJournal } from "./journal.ts";
import { manage, type RequestBody, textOrNull } from "./management.ts";
import type { QueueCounts, QueueEvent, QueueOptions, SubQueue } from "./model.ts";
import { DEFAULT_QUEUE_OPTIONS, QueueError } from "./model.ts";
import { Queue } from "./queue.ts";
import type { AmqpErrorFields } from "./rheaInternals.ts";
import { flush, receivedBytes, setAttachField, settleDelivery, spareCredit } from "./rheaInternals.ts";
import { decodeSent, encodeForReceiver, lockTokenToTag, tagToLockToken } from "./sections.ts";

const { types, message: codec } = rhea;

export interface BrokerOptions {
  /** Queues by name; what is left out is as in `DEFAULT_QUEUE_OPTIONS`. */
  readonly queues: Readonly<Record<string, Partial<QueueOptions>>>;
  /** 0, the default, takes a free port. */
  readonly port?: number;
  /** The journals' folder, made when missing. Without one, messages end with the broker. */
  readonly dataDir?: string;
  /** Epoch milliseconds. */
  readonly clock?: () => number;
  /** Told of what no client is told: broken connections, errors of the broker's own. */
  readonly onProblem?: (problem: Error) => void;
}

/** What the standard tier takes. A batch counts as one message. */
const MAX_MESSAGE_BYTES = 256 * 1024;
const SWEEP_INTERVAL_MS = 50;
/** Connections that did not answer our close are cut after this time. */
const CLOSE_GRACE_MS = 200;
/** The message format of a batch: every data section of its body is a whole message. */
const BATCH_FORMAT = 0x80013700;
const PRESETTLED = 1;

/** A link to a client that receives. */
interface Outlet {
  readonly sender: Sender;
  readonly queue: Queue;
  readonly from: SubQueue;
  /** The client's "receive and delete" mode: what is sent is settled. */
  readonly deletes: boolean;
  readonly unwritten: Set<Delivery>;
}

/** Where what a client sends goes to. */
type Inlet =
  | { readonly kind: "send"; readonly queue: Queue }
  | { readonly kind: "manage"; readonly queue: Queue; readonly from: SubQueue }
  | { readonly kind: "authorize" };

/** A refusal as the client is to see it. */
class AmqpError extends Error {
  readonly condition: string;
  constructor(condition: string, description: string) {
    super(description);
    this.condition = condition;
  }
}

export class ServiceBusBroker {
  readonly #queues = new Map<string, Queue>();
  readonly #onProblem: (problem: Error) => void;
  readonly #container: Container;
  readonly #connections = new Set<Connection>();
  readonly #sockets = new Set<Socket>();
  readonly #inlets = new WeakMap<Receiver, Inlet>();
  /** The links to serve, in the order in which they are served next. */
  readonly #outlets = new Set<Outlet>();
  /** Also of links that just closed: rhea reports their last dispositions after the close. */
  readonly #outletOf = new WeakMap<Sender, Outlet>();
  readonly #replyLinks = new WeakMap<Connection, Map<string, Sender>>();
  readonly #woken = new Set<Queue>();
  #server: Server | undefined;
  #port = 0;
  #sweeper: NodeJS.Timeout | undefined;

  /** @throws Error when the port is taken or a journal cannot be read */
  static async start(options: BrokerOptions): Promise<ServiceBusBroker> {
    const broker = new ServiceBusBroker(options);
    await broker.#listen(options.port ?? 0);
    return broker;
  }

  private constructor(options: BrokerOptions) {
    this.#onProblem = options.onProblem ?? (() => {});
    if (options.dataDir !== undefined) mkdirSync(options.dataDir, { recursive: true });
    for (const [name, queueOptions] of Object.entries(options.queues)) {
      const journal =
        options.dataDir === undefined
          ? memoryJournal<QueueEvent>()
          : new FileJournal<QueueEvent>(
              join(options.dataDir, `${encodeURIComponent(name.toLowerCase())}.journal`),
            );
      const queue = new Queue(
        name,
        { ...DEFAULT_QUEUE_OPTIONS, ...queueOptions },
        journal,
        options.clock ?? Date.now,
      );
      queue.onReady = () => this.#wake(queue);
      this.#queues.set(name.toLowerCase(), queue);
    }
    this.#container = this.#createContainer();
  }

  get port(): number {
    return this.#port;
  }

  get connectionString(): string {
    return (
      `Endpoint=sb://127.0.0.1:${this.port};SharedAccessKeyName=local;SharedAccessKey=local;` +
      "UseDevelopmentEmulator=true"
    );
  }

  /** @throws Error for a name that is no queue */
  queue(name: string): QueueCounts {
    return this.#find(name).queue.counts();
  }

  async close(): Promise<void> {
    clearInterval(this.#sweeper);
    const server = this.#server;
    if (server) {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const connection of this.#connections) connection.close();
      const cut = setTimeout(() => {
        for (const socket of this.#sockets) socket.destroy();
      }, CLOSE_GRACE_MS);
      await closed;
      clearTimeout(cut);
    }
    for (const queue of this.#queues.values()) queue.close();
  }

  async #listen(port: number): Promise<void> {
    const server = this.#container.listen({ port, host: "127.0.0.1" });
    server.on("connection", (socket) => {
      socket.setNoDelay(true);
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
    await new Promise<void>((resolve, reject) => {
      server.once("listening", resolve);
      server.once("error", reject);
    });
    this.#server = server;
    this.#port = (server.address() as AddressInfo).port;
    this.#sweeper = setInterval(() => {
      for (const queue of this.#queues.values()) queue.sweep();
    }, SWEEP_INTERVAL_MS);
    this.#sweeper.unref();
  }

  #createContainer(): Container {
    const container = rhea.create_container({
      autoaccept: false,
      // A modified message may be a deferred one; rhea would also report it as released.
      treat_modified_as_released: false,
      max_frame_size: 64 * 1024,
      // Deliveries that a session can have unsettled; rhea's 2,048 are too few for a receiver of large batches.
      session_buffer_size: 16 * 1024,
    });
    const mechanisms = container.sasl_server_mechanisms;
    mechanisms.enable_anonymous();
    mechanisms.enable_plain(() => true);
    mechanisms.MSSBCBS = mechanisms.ANONYMOUS;

    container.on("connection_open", ({ connection }: EventContext) => this.#connections.add(connection));
    container.on("connection_close", ({ connection }: EventContext) => this.#connectionGone(connection));
    container.on("disconnected", ({ connection }: EventContext) => this.#connectionGone(connection));
    container.on("session_close", ({ session: ended }: EventContext) =>
      this.#stopServing(({ session }) => session === ended),
    );
    container.on("sender_open", ({ sender }: EventContext) =>
      this.#openOr(sender!, () => this.#openOutlet(sender!)),
    );
    container.on("sender_close", ({ sender: closed }: EventContext) =>
      this.#stopServing((sender) => sender === closed),
    );
    container.on("receiver_open", ({ receiver }: EventContext) =>
      this.#openOr(receiver!, () => this.#openInlet(receiver!)),
    );

    container.on("sender_flow", ({ sender }: EventContext) => this.#pump(sender!));
    container.on("sendable", ({ sender }: EventContext) => this.#pump(sender!));
    container.on("sender_draining", ({ sender }: EventContext) => this.#drain(sender!));
    container.on("message", (context: EventContext) => this.#receive(context));
    container.on("accepted", (context: EventContext) =>
      this.#dispose(context, (queue, token) => queue.complete(token)),
    );
    container.on("released", (context: EventContext) =>
      this.#dispose(context, (queue, token) => queue.abandon(token)),
    );
    // Properties that the client asks to change on these two are left as they were.
    container.on("modified", (context: EventContext) =>
      this.#dispose(context, (queue, token) =>
        context.delivery!.remote_state?.undeliverable_here ? queue.defer(token) : queue.abandon(token),
      ),
    );
    container.on("rejected", (context: EventContext) =>
      this.#dispose(context, (queue, token) => {
        const info: Record<string, unknown> = context.delivery!.remote_state?.error?.info ?? {};
        queue.deadLetter(token, {
          reason: textOrNull(info.DeadLetterReason),
          description: textOrNull(info.DeadLetterErrorDescription),
        });
      }),
    );

    // The peer's own errors come with its close, which is handled above; without a listener rhea would throw them.
    for (const event of ["connection_error", "session_error", "sender_error", "receiver_error"]) {
      container.on(event, () => {});
    }
    container.on("protocol_error", (error: Error) => this.#onProblem(error));
    container.on("error", (error: Error) => this.#onProblem(error));
    return container;
  }

  /** Locks are kept: as in Azure, what a vanished client held comes back when its lock ends. */
  #connectionGone(connection: Connection): void {
    this.#connections.delete(connection);
    this.#stopServing((sender) => sender.connection === connection);
  }

  #stopServing(isGone: (sender: Sender) => boolean): void {
    for (const outlet of this.#outlets) if (isGone(outlet.sender)) this.#outlets.delete(outlet);
  }

  /** The queue at an address such as `import-steps/$deadletterqueue` or `amqp://host/import-steps`. */
  #find(address: string): { readonly queue: Queue; readonly from: SubQueue } {
    const path = address.replace(/^amqps?:\/\/[^/]+\//, "").toLowerCase();
    const name = path.replace(/\/\$deadletterqueue$/, "");
    const queue = this.#queues.get(name);
    if (!queue)
      throw new AmqpError("amqp:not-found", `The messaging entity '${address}' could not be found.`);
    return { queue, from: name === path ? "active" : "deadLetter" };
  }

  /** Opens a link or, when that fails, lets it open only to close with the reason, as AMQP wants it. */
  #openOr(link: Sender | Receiver, open: () => void): void {
    try {
      open();
    } catch (error) {
      link.close(this.#refusal(error));
    }
  }

  #openOutlet(sender: Sender): void {
    const address = sender.source?.address ?? "";
    setAttachField(sender, "snd_settle_mode", sender.snd_settle_mode);
    setAttachField(sender, "rcv_settle_mode", sender.rcv_settle_mode);
    sender.set_source({ address });
    sender.set_target(sender.target ?? {});
    if (/(^|\/)\$(cbs|management)$/i.test(address)) {
      // A request names its reply link by the link's name ($cbs) or by its target address ($management).
      const replyLinks = this.#replyLinks.get(sender.connection) ?? new Map<string, Sender>();
      this.#replyLinks.set(sender.connection, replyLinks);
      replyLinks.set(sender.name, sender);
      if (sender.target?.address) replyLinks.set(sender.target.address, sender);
      return;
    }
    const { queue, from } = this.#find(address);
    const deletes = sender.snd_settle_mode === PRESETTLED;
    const outlet: Outlet = { sender, queue, from, deletes, unwritten: new Set() };
    this.#outlets.add(outlet);
    this.#outletOf.set(sender, outlet);
  }

  #openInlet(receiver: Receiver): void {
    const address = receiver.target?.address ?? "";
    receiver.set_target({ address });
    receiver.set_source(receiver.source ?? {});
    setAttachField(receiver, "max_message_size", MAX_MESSAGE_BYTES);
    if (/^\$cbs$/i.test(address)) {
      this.#inlets.set(receiver, { kind: "authorize" });
    } else if (/\/\$management$/i.test(address)) {
      this.#inlets.set(receiver, { kind: "manage", ...this.#find(address.replace(/\/\$management$/i, "")) });
    } else {
      const { queue, from } = this.#find(address);
      if (from === "deadLetter")
        throw new AmqpError("amqp:not-allowed", "Nothing is sent to a dead letter queue.");
      this.#inlets.set(receiver, { kind: "send", queue });
    }
  }

  /** Serves a queue's links a moment later, once for many changes. */
  #wake(queue: Queue): void {
    if (this.#woken.has(queue)) return;
    this.#woken.add(queue);
    setImmediate(() => {
      this.#woken.delete(queue);
      for (const outlet of [...this.#outlets]) if (outlet.queue === queue) this.#pump(outlet.sender);
    });
  }

  /** Sends what is ready as far as the link's credit reaches. */
  #pump(sender: Sender): void {
    const outlet = this.#outletOf.get(sender);
    if (!outlet || !this.#outlets.has(outlet) || !sender.is_open()) return;
    const { queue, from, unwritten } = outlet;
    const credit = spareCredit(sender, unwritten);
    if (credit === 0) return;
    const messages = outlet.deletes ? queue.receiveAndDelete(from, credit) : queue.receive(from, credit);
    for (const message of messages) {
      const tag = message.lock ? lockTokenToTag(message.lock.token) : undefined;
      unwritten.add(sender.send(encodeForReceiver(message, queue.name), tag, 0));
    }
    if (messages.length > 0) {
      // Served last next time, so that several hosts share a queue.
      this.#outlets.delete(outlet);
      this.#outlets.add(outlet);
    }
  }

  /** The client takes its unused credit back, after what is ready has been sent. */
  #drain(sender: Sender): void {
    this.#pump(sender);
    setImmediate(() => {
      sender.set_drained(true);
      flush(sender.connection);
    });
  }

  #dispose({ delivery, sender }: EventContext, settle: (queue: Queue, lockToken: string) => void): void {
    const outlet = this.#outletOf.get(sender!);
    if (!outlet || outlet.deletes) return;
    let refusal: AmqpErrorFields | null = null;
    try {
      settle(outlet.queue, tagToLockToken(delivery!.tag as Buffer));
    } catch (error) {
      refusal = this.#refusal(error);
    }
    settleDelivery(delivery!, refusal);
  }

  #receive(context: EventContext): void {
    const delivery = context.delivery!;
    const inlet = this.#inlets.get(context.receiver!);
    if (!inlet) return; // Its address was refused, and the link is closing.
    if (inlet.kind !== "send") {
      delivery.accept();
      this.#reply(context.connection, context.message!, inlet);
      return;
    }
    try {
      const received = receivedBytes(context.message!);
      if (received.length > MAX_MESSAGE_BYTES) {
        const description = `The message of ${received.length} bytes exceeds the limit of ${MAX_MESSAGE_BYTES}.`;
        throw new AmqpError("amqp:link:message-size-exceeded", description);
      }
      const parts: readonly Buffer[] =
        delivery.format === BATCH_FORMAT ? [codec.decode(received).body.content].flat() : [received];
      inlet.queue.send(parts.map(decodeSent));
      delivery.accept();
    } catch (error) {
      delivery.reject(this.#refusal(error));
    }
  }

  #reply(connection: Connection, request: Message, inlet: Exclude<Inlet, { kind: "send" }>): void {
    let statusCode = 200;
    let statusDescription = "OK";
    let errorCondition: string | undefined;
    let body: object | null = {};
    try {
      if (inlet.kind === "manage") {
        const operation = String(request.application_properties?.operation);
        body = manage(inlet.queue, inlet.from, operation, request.body as RequestBody);
        if (body === null) statusCode = 204;
      } else {
        statusCode = 202; // Any token is taken.
      }
    } catch (error) {
      const { condition, description } = this.#refusal(error);
      statusCode = STATUS_OF_CONDITION[condition] ?? 500;
      statusDescription = description;
      errorCondition = condition;
    }
    const replyLink = this.#replyLinks.get(connection)?.get(request.reply_to ?? "");
    // Both spellings: $cbs replies use the hyphenated names, $management replies the others.
    replyLink?.send({
      correlation_id: request.message_id,
      application_properties: {
        statusCode: types.wrap_int(statusCode),
        statusDescription,
        "status-code": types.wrap_int(statusCode),
        "status-description": statusDescription,
        ...(errorCondition === undefined ? {} : { errorCondition: types.wrap_symbol(errorCondition) }),
      },
      body: body ?? {},
    } as Message);
  }

  #refusal(error: unknown): AmqpErrorFields {
    const description = error instanceof Error ? error.message : String(error);
    if (error instanceof AmqpError) return { condition: error.condition, description };
    if (error instanceof QueueError) return { condition: CONDITION_OF_KIND[error.kind], description };
    this.#onProblem(error instanceof Error ? error : new Error(description));
    return { condition: "amqp:internal-error", description };
  }
}

const CONDITION_OF_KIND: Readonly<Record<QueueError["kind"], string>> = {
  "lock-lost": "com.microsoft:message-lock-lost",
  "message-not-found": "com.microsoft:message-not-found",
  "not-allowed": "amqp:not-allowed",
};

const STATUS_OF_CONDITION: Readonly<Record<string, number>> = {
  "com.microsoft:message-lock-lost": 410,
  "com.microsoft:message-not-found": 404,
  "amqp:not-allowed": 400,
};
