/**
 * uWebSockets.js reads this when it is loaded, so this is imported before it. In bytes, for all headers of a request; a
 * capability of 4,096 characters does not fit the 4 KiB that it has by itself. We refuse at 8 KiB, with an answer of our own.
 */
process.env.UWS_HTTP_MAX_HEADERS_SIZE = String(16 * 1024);
