/** Timer triggers: https://learn.microsoft.com/azure/azure-functions/functions-bindings-timer */
import { Cron } from "croner";
import { typedData } from "./coreApi.ts";
import type { FunctionApp, LogSink, Trigger } from "./functionApp.ts";
import { AppStartError, resolveSettings, type Settings } from "./settings.ts";

/**
 * Six fields: second minute hour day month day-of-week (0 = Sunday). NCRONTAB knows numbers, names, lists, ranges
 * and steps; of what the cron library knows beyond that (L, W, #, ?, 7 for Sunday), the Functions host knows nothing.
 */
const ncrontab = /^(?:[0-9*,/-]+\s+){4}[0-9a-z*,/-]+\s+[0-9a-z*,/-]+$/i;

export interface Timers {
  /** Calls a timer function now, whatever its schedule. */
  invoke(functionName: string): Promise<void>;
  start(): void;
  stop(): void;
}

/**
 * @param send takes what an invocation gave to its outputs
 * @throws AppStartError when a schedule is not NCRONTAB or refers to an unset setting
 */
export function prepareTimers(
  app: FunctionApp,
  triggers: readonly Trigger[],
  settings: Settings,
  send: (outputs: Awaited<ReturnType<FunctionApp["invoke"]>>) => Promise<void>,
  log: LogSink,
): Timers {
  const timers = triggers.map((trigger) => ({ trigger, schedule: schedule(trigger, settings) }));

  const invoke = async (functionName: string) => {
    const { schedule: cron } = timers.find(({ trigger }) => trigger.functionName === functionName)!;
    const next = cron.nextRun()?.toISOString() ?? "";
    const now = new Date().toISOString();
    const timer = {
      Schedule: { AdjustForDST: true },
      ScheduleStatus: { Last: now, Next: next, LastUpdated: now },
      IsPastDue: false,
    };
    try {
      await send(await app.invoke(functionName, typedData(timer)));
    } catch (error) {
      log("error", (error as Error).stack ?? String(error), functionName);
    }
  };

  return {
    invoke,
    start: () => {
      for (const { trigger, schedule: cron } of timers) {
        cron.schedule(() => invoke(trigger.functionName));
        cron.resume();
        if (trigger.binding.runOnStartup === true) void invoke(trigger.functionName);
      }
    },
    stop: () => {
      for (const { schedule: cron } of timers) cron.stop();
    },
  };
}

function schedule({ functionName, binding }: Trigger, settings: Settings): Cron {
  const usedBy = `Timer ${functionName}`;
  const pattern = resolveSettings(String(binding.schedule ?? ""), settings, usedBy).trim();
  const refused = (why: string) =>
    new AppStartError(
      `${usedBy}: the schedule "${pattern}" (${String(binding.schedule)}) is not NCRONTAB. ${why} ` +
        'Six fields are needed, second minute hour day month day-of-week: "0 */30 * * * *" is every half hour.',
    );
  if (!ncrontab.test(pattern) || /\b7\b/.test(pattern.split(/\s+/).at(-1)!)) throw refused("");
  try {
    // NCRONTAB wants day and day of week both to match. `protect` skips a firing while the last one still runs.
    return new Cron(pattern, {
      mode: "6-part",
      domAndDow: true,
      sloppyRanges: true,
      timezone: settings.WEBSITE_TIME_ZONE ?? "UTC",
      protect: true,
      paused: true,
    });
  } catch (error) {
    throw refused(`${(error as Error).message}.`);
  }
}
