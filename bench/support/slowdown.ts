import { createRequire } from 'node:module';
import { isMainThread } from 'node:worker_threads';

/**
 * Loaded into a server before its own program (`NODE_OPTIONS=--import`): each request then costs the thread that talks
 * HTTP another BENCH_SPIN_US microseconds. It stands for a careless change, to show that `npm run slo` finds one.
 */
type Handler = (res: unknown, req: unknown) => void;
interface App {
  any(pattern: string, handler: Handler): App;
}

const spinMs = Number(process.env.BENCH_SPIN_US) / 1000;

function spin(): void {
  const untilMs = performance.now() + spinMs;
  while (performance.now() < untilMs);
}

if (isMainThread && spinMs > 0) {
  const uws = createRequire(import.meta.url)('uWebSockets.js') as { App: (...options: unknown[]) => App };
  const createApp = uws.App;
  uws.App = (...options) => {
    const app = createApp(...options);
    const any = app.any.bind(app);
    app.any = (pattern, handler) =>
      any(pattern, (res, req) => {
        spin();
        handler(res, req);
      });
    return app;
  };
}
