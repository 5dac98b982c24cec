/**
 * `@azure/functions-core`, the module that the Node worker of Azure Functions gives to an app. `@azure/functions`
 * registers functions through it, asks it for nothing else, and looks for it once: supply it before the app loads.
 *
 * Its surface is that of https://github.com/Azure/azure-functions-nodejs-worker (setupCoreModule.ts); what is not
 * needed by `@azure/functions` 4 (the v3 model, deprecated hooks) is absent.
 */
import Module from "node:module";

/** A value on its way between host and worker; exactly one property is set. */
export interface TypedData {
  readonly string?: string;
  readonly json?: string;
  readonly bytes?: Uint8Array;
  readonly int?: number;
  readonly double?: number;
  readonly http?: RpcHttp;
}

/** An HTTP request on its way in, or a response on its way out. */
export interface RpcHttp {
  readonly url?: string;
  readonly method?: string;
  readonly nullableHeaders?: Record<string, { readonly value: string }>;
  readonly nullableQuery?: Record<string, { readonly value: string }>;
  readonly nullableParams?: Record<string, { readonly value: string }>;
  readonly body?: TypedData | null;
  readonly statusCode?: string;
  readonly headers?: Record<string, string>;
  readonly cookies?: readonly RpcCookie[];
}

export interface RpcCookie {
  readonly name?: string;
  readonly value?: string;
  readonly path?: { readonly value?: string };
  readonly domain?: { readonly value?: string };
  readonly secure?: { readonly value?: boolean };
  readonly httpOnly?: { readonly value?: boolean };
}

/** A trigger or output as the app declared it; the options beside `type` depend on the type. */
export interface Binding {
  readonly type: string;
  readonly direction: "in" | "out";
  readonly name?: string;
  readonly [option: string]: unknown;
}

export interface FunctionMetadata {
  readonly name: string;
  readonly functionId?: string;
  readonly bindings: Readonly<Record<string, Binding>>;
  readonly retryOptions?: unknown;
}

export type FunctionCallback = (...inputs: unknown[]) => unknown;

export interface RegisteredFunction {
  readonly metadata: FunctionMetadata;
  readonly callback: FunctionCallback;
}

export interface InvocationRequest {
  readonly invocationId: string;
  readonly inputData: readonly { readonly name: string; readonly data: TypedData }[];
  readonly triggerMetadata: Readonly<Record<string, TypedData>>;
  readonly traceContext: { readonly traceParent: string };
}

export interface InvocationResponse {
  readonly outputData?: readonly { readonly name: string; readonly data: TypedData }[];
  readonly returnValue?: TypedData | null;
}

export interface InvocationModel {
  getArguments(): Promise<{ context: unknown; inputs: unknown[] }>;
  invokeFunction(context: unknown, inputs: unknown[], callback: FunctionCallback): Promise<unknown>;
  getResponse(context: unknown, result: unknown): Promise<InvocationResponse>;
}

export interface ProgrammingModel {
  readonly name: string;
  readonly version: string;
  getCapabilities(known: Record<string, string>): Promise<Record<string, string>>;
  getInvocationModel(context: unknown): InvocationModel;
}

export type LogLevel = "trace" | "debug" | "information" | "warning" | "error" | "critical" | "none";
export type HookName = "appStart" | "appTerminate" | "preInvocation" | "postInvocation" | "log";
export type Hook = (context: unknown) => unknown;

class Disposable {
  readonly #dispose: () => void;
  constructor(dispose: () => void) {
    this.#dispose = dispose;
  }
  dispose(): void {
    this.#dispose();
  }
  static from(...all: { dispose(): void }[]): Disposable {
    return new Disposable(() => {
      for (const one of all) one.dispose();
    });
  }
}

/** What the app has registered, and the module through which it did. */
export class CoreApi {
  readonly functions = new Map<string, RegisteredFunction>();
  readonly hooks: Readonly<Record<HookName, Hook[]>> = {
    appStart: [],
    appTerminate: [],
    preInvocation: [],
    postInvocation: [],
    log: [],
  };
  programmingModel: ProgrammingModel | undefined;
  #locked = false;
  readonly #log: (level: LogLevel, message: string) => void;

  /** @param log receives what the library itself logs outside any invocation */
  constructor(log: (level: LogLevel, message: string) => void) {
    this.#log = log;
  }

  /** From here on the app may register nothing, as when the worker has answered the host's first question. */
  lock(): void {
    this.#locked = true;
  }

  /**
   * Makes `require("@azure/functions-core")` answer with this. It patches `require`, as the worker does, because
   * the library resolves the module with `require` even when the app itself is ESM.
   */
  install(): void {
    const supplied = this.#module();
    const prototype = Module.prototype as unknown as { require(id: string): unknown };
    const original = prototype.require;
    prototype.require = function (this: unknown, id: string): unknown {
      return id === "@azure/functions-core" ? supplied : original.call(this, id);
    };
  }

  #module(): object {
    return {
      version: "3.10.1",
      hostVersion: "4.1037.0.0",
      Disposable,
      registerFunction: (metadata: FunctionMetadata, callback: FunctionCallback) => {
        this.#refuseWhenLocked("A function");
        const id = metadata.functionId ?? metadata.name;
        if (this.functions.has(id))
          throw new Error(`A function with id "${id}" has already been registered.`);
        this.functions.set(id, { metadata, callback });
        return new Disposable(() => this.functions.delete(id));
      },
      registerHook: (name: HookName, callback: Hook) => {
        const hooks = this.hooks[name];
        if (hooks === undefined) throw new RangeError(`Unrecognized hook "${name}"`);
        hooks.push(callback);
        return new Disposable(() => {
          const at = hooks.indexOf(callback);
          if (at >= 0) hooks.splice(at, 1);
        });
      },
      setProgrammingModel: (model: ProgrammingModel) => {
        this.#refuseWhenLocked("A programming model");
        this.programmingModel = model;
      },
      getProgrammingModel: () => this.programmingModel,
      log: (level: LogLevel, _category: string, message: string) => this.#log(level, message),
    };
  }

  #refuseWhenLocked(what: string): void {
    if (this.#locked) throw new Error(`${what} can only be registered during app startup.`);
  }
}

/** A text goes as it is, everything else as JSON: how the host hands over metadata. */
export function typedData(value: unknown): TypedData {
  return typeof value === "string" ? { string: value } : { json: JSON.stringify(value) };
}

/** The value that an output binding was given. */
export function untypedData(data: TypedData | null | undefined): unknown {
  if (data === null || data === undefined) return undefined;
  if (data.json !== undefined) return JSON.parse(data.json);
  return data.string ?? data.bytes ?? data.int ?? data.double ?? data.http;
}
