// Runs before the first paint, so that neither theme nor language flickers: both are remembered choices.
"use strict";
(() => {
  let theme = null;
  let language = null;
  try {
    theme = localStorage.getItem("riddle.theme");
    language = localStorage.getItem("riddle.language");
  } catch {
    // storage is blocked: the browser's own preferences apply
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  if (language !== "en" && language !== "zh") {
    language = (navigator.language || "en").toLowerCase().startsWith("zh") ? "zh" : "en";
  }
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
})();
