/**
 * A function app, loaded the way the Node worker of Azure Functions loads it, and one invocation of one of its
 * functions. What the real worker and host refuse at the start is refused here too, so that an app that runs locally
 * is not refused in Azure.
 */
import { randomBytes, randomUUID } from "node:crypto";
import { globSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import {
  type Binding,
  CoreApi,
  type FunctionMetadata,
  type HookName,
  type LogLevel,
  type ProgrammingModel,
  type TypedData,
  untypedData,
} from "./coreApi.ts";
import { AppStartError, readJson } from "./settings.ts";

/** Receives each log line of the app; `functionName` is undefined outside an invocation. */
export type LogSink = (level: LogLevel, message: string, functionName: string | undefined) => void;

/** A module of the app threw while it was loaded; `cause` is what it threw. */
export class EntryPointError extends Error {
  override readonly name = "EntryPointError";
}

export interface Trigger {
  readonly functionName: string;
  readonly binding: Binding;
}

export interface Output {
  readonly binding: Binding;
  readonly value: unknown;
}

const triggerType = /trigger$/i;
const functionNamePattern = /^[a-z][a-z0-9_-]{0,127}$/i;

export class FunctionApp {
  readonly #core: CoreApi;
  readonly #model: ProgrammingModel;
  readonly #log: LogSink;
  readonly #appHookData = {};
  readonly #running = new Set<Promise<unknown>>();

  private constructor(core: CoreApi, model: ProgrammingModel, log: LogSink) {
    this.#core = core;
    this.#model = model;
    this.#log = log;
  }

  /**
   * Loads every file that `main` of the app's package.json matches. To be called once in a process, before anything
   * imports `@azure/functions`.
   * @throws EntryPointError when a module throws
   * @throws AppStartError when `main` matches nothing, or no function or an unusable one is registered
   */
  static async load(directory: string, log: LogSink): Promise<FunctionApp> {
    const core = new CoreApi((level, message) => log(level, message, undefined));
    core.install();
    const packageFile = join(directory, "package.json");
    const { main } = readJson(packageFile) as { main?: unknown };
    if (typeof main !== "string") {
      throw new AppStartError(`${packageFile}: "main" must say which files hold the functions.`);
    }
    const files = globSync(main, { cwd: directory }).sort();
    if (files.length === 0) {
      throw new AppStartError(`${packageFile}: no file matches "main" (${main}). Has the app been built?`);
    }
    for (const file of files) {
      try {
        await import(pathToFileURL(resolve(directory, file)).href);
      } catch (cause) {
        throw new EntryPointError(`Unable to load entry point "${file}".`, { cause });
      }
    }

    const model = core.programmingModel;
    if (model === undefined || core.functions.size === 0) {
      throw new AppStartError(`No function is registered by ${files.join(", ")}.`);
    }
    const app = new FunctionApp(core, model, log);
    await app.#runAppHooks("appStart", directory);
    const capabilities = await model.getCapabilities({});
    if (capabilities.HttpUri !== undefined) {
      throw new AppStartError("app.setup({ enableHttpStream: true }) is not supported by the local host.");
    }
    core.lock();
    app.#checkNames();
    return app;
  }

  /** Every function with its trigger, in the order of registration. */
  get triggers(): readonly Trigger[] {
    return [...this.#core.functions.values()].map(({ metadata }) => ({
      functionName: metadata.name,
      binding: triggerOf(metadata)[1],
    }));
  }

  /** The outputs that functions declare, for checks before the first invocation. */
  get outputs(): readonly Trigger[] {
    return [...this.#core.functions.values()].flatMap(({ metadata }) =>
      Object.values(metadata.bindings)
        .filter((binding) => binding.direction === "out")
        .map((binding) => ({ functionName: metadata.name, binding })),
    );
  }

  /**
   * Calls one function as the worker would.
   * @returns what the function gave to each of its outputs, the return value included
   * @throws whatever the function throws
   */
  invoke(
    functionName: string,
    data: TypedData,
    metadata: Readonly<Record<string, TypedData>> = {},
  ): Promise<readonly Output[]> {
    const invocation = this.#invoke(functionName, data, metadata);
    // The caller handles a failure; this copy of the promise only tells when the invocation has ended.
    const ended = invocation.then(
      () => {},
      () => {},
    );
    this.#running.add(ended);
    void ended.then(() => this.#running.delete(ended));
    return invocation;
  }

  /** Waits until nothing runs, but not longer than `maxMs`; then the app's termination hooks run. */
  async terminate(maxMs: number): Promise<void> {
    const deadline = new AbortController();
    const timer = setTimeout(() => deadline.abort(), maxMs);
    const timedOut = new Promise<void>((done) => deadline.signal.addEventListener("abort", () => done()));
    while (this.#running.size > 0 && !deadline.signal.aborted) {
      await Promise.race([Promise.all(this.#running), timedOut]);
    }
    clearTimeout(timer);
    await this.#runAppHooks("appTerminate");
  }

  async #invoke(
    functionName: string,
    data: TypedData,
    triggerMetadata: Readonly<Record<string, TypedData>>,
  ): Promise<readonly Output[]> {
    const registered = [...this.#core.functions.values()].find((one) => one.metadata.name === functionName);
    if (registered === undefined) throw new Error(`There is no function ${functionName}.`);
    const { metadata, callback } = registered;
    const invocationId = randomUUID();
    const hookData = {};
    let invocationContext: unknown;
    const coreContext = {
      invocationId,
      metadata,
      // The library reads it to tell a log call made too late from one made by a hook.
      state: undefined as "invocation" | "postInvocationHooks" | undefined,
      request: {
        invocationId,
        inputData: [{ name: triggerOf(metadata)[0], data }],
        triggerMetadata,
        traceContext: {
          traceParent: `00-${randomBytes(16).toString("hex")}-${randomBytes(8).toString("hex")}-01`,
        },
      },
      log: (level: LogLevel, category: string, message: string) => {
        const line = { hookData, invocationContext, level, category, message };
        for (const hook of this.#core.hooks.log) hook(line);
        this.#log(line.level, line.message, functionName);
      },
    };

    const model = this.#model.getInvocationModel(coreContext);
    const { context, inputs } = await model.getArguments();
    invocationContext = context;
    const shared = { hookData, appHookData: this.#appHookData, invocationContext };
    const before = { ...shared, functionCallback: callback, inputs };
    await this.#runHooks("preInvocation", before);

    const after: Record<string, unknown> = { ...shared, inputs: before.inputs, result: null, error: null };
    coreContext.state = "invocation";
    try {
      after.result = await model.invokeFunction(context, before.inputs, before.functionCallback);
    } catch (error) {
      after.error = error;
    }
    coreContext.state = "postInvocationHooks";
    await this.#runHooks("postInvocation", after);
    coreContext.state = undefined;
    if (after.error) throw after.error;

    const response = await model.getResponse(context, after.result);
    const outputs = (response.outputData ?? []).map((output) => ({
      binding: metadata.bindings[output.name]!,
      value: untypedData(output.data),
    }));
    const returned = metadata.bindings.$return;
    if (returned !== undefined) {
      outputs.push({ binding: returned, value: untypedData(response.returnValue) });
    }
    return outputs;
  }

  async #runAppHooks(name: "appStart" | "appTerminate", functionAppDirectory?: string): Promise<void> {
    await this.#runHooks(name, { hookData: {}, appHookData: this.#appHookData, functionAppDirectory });
  }

  async #runHooks(name: HookName, context: unknown): Promise<void> {
    for (const hook of this.#core.hooks[name]) await hook(context);
  }

  #checkNames(): void {
    const known = new Set<string>();
    for (const { functionName } of this.triggers) {
      if (!functionNamePattern.test(functionName)) {
        throw new AppStartError(
          `"${functionName}" is no function name: a letter, then at most 127 letters, digits, "_" or "-".`,
        );
      }
      if (known.has(functionName.toLowerCase())) {
        throw new AppStartError(
          `Two functions have the name ${functionName}; case does not tell them apart.`,
        );
      }
      known.add(functionName.toLowerCase());
    }
  }
}

function triggerOf(metadata: FunctionMetadata): readonly [string, Binding] {
  const trigger = Object.entries(metadata.bindings).find(([, binding]) => triggerType.test(binding.type));
  if (trigger === undefined) throw new AppStartError(`Function ${metadata.name} has no trigger.`);
  return trigger;
}
