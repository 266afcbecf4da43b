//! Chat completions of an OpenAI-compatible endpoint. The key comes from the environment, goes into one header, and is
//! taken out of everything that the endpoint says before anybody reads it.

use crate::context::StageError;
use crate::spec::{JudgeSpec, Structured};
use serde_json::{Value, json};
use std::io::Read;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use ureq::Agent;

/// Largest answer; one is some hundred bytes, and a list of models some thousand.
const MOST_BYTES: u64 = 8 << 20;
const CONNECT: Duration = Duration::from_secs(30);
/// Seconds before the first new try; each further one waits twice as long.
const FIRST_WAIT: f64 = 0.5;
const LONGEST_WAIT: f64 = 60.0;
/// An endpoint that asks for more patience than this is not waited for.
const MOST_PATIENCE: f64 = 900.0;
/// Between two looks whether to stop.
const LOOK: Duration = Duration::from_millis(50);
/// Of what an endpoint says, in characters, and of its models.
const MOST_SAID: usize = 300;
const MOST_MODELS: usize = 8;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Trouble {
    /// It may come later; after so many seconds where the endpoint says so.
    Passing(String, Option<f64>),
    /// What is asked for is wrong: the key, the address, the model.
    Wrong(String),
    /// Waiting was in vain.
    Failed(String),
    /// Somebody stops the run.
    Stopped,
}

impl Trouble {
    /// As an error of a stage; answers that have come are kept.
    pub fn error(self, url: &str) -> StageError {
        match self {
            Self::Wrong(why) => StageError::Input(format!("labeler.judge: {url}: {why}")),
            Self::Passing(why, _) | Self::Failed(why) => StageError::Unanswered(format!(
                "the judge at {url} does not answer: {why}; the answers so far are kept, and the same command goes on"
            )),
            Self::Stopped => StageError::Unanswered(format!("the judge at {url} was not waited for")),
        }
    }
}

/// What this endpoint has been found to accept.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Dialect {
    format: Structured,
    /// Newer models of OpenAI's call it `max_completion_tokens`.
    max_completion: bool,
    /// Some models have one temperature only.
    temperature: bool,
}

/// An endpoint and the key to it.
pub(super) struct Endpoint {
    spec: JudgeSpec,
    base: String,
    key: Option<String>,
    agent: Agent,
    dialect: Mutex<Dialect>,
}

impl Endpoint {
    /// Err: there is no key where one is wanted.
    pub fn open(spec: &JudgeSpec) -> Result<Self, StageError> {
        let key = match spec.key_env.as_str() {
            "" => None,
            name => Some(key(name)?),
        };
        let seconds = Duration::from_secs_f64(spec.timeout);
        let config = Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(concat!("runner/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT.min(seconds)))
            .timeout_global(Some(seconds))
            .build();
        let base = spec.base_url.trim_end_matches('/').to_string();
        let host = base.strip_prefix("http://").and_then(|rest| rest.split(['/', ':']).next());
        if key.is_some() && host.is_some_and(|host| host != "localhost" && !host.starts_with("127.") && host != "[") {
            tracing::warn!("labeler.judge.base_url: the key goes unencrypted over http:// to another machine");
        }
        let format = if spec.structured == Structured::Auto { Structured::JsonSchema } else { spec.structured };
        let dialect = Mutex::new(Dialect { format, max_completion: false, temperature: true });
        Ok(Self { spec: spec.clone(), base, key, agent: config.into(), dialect })
    }

    /// The address, for messages.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Err: nobody answers at the address, the key is refused, or the model is not there. Nothing is asked of the model
    /// where the endpoint lists its models.
    pub fn check(&self, stopped: &dyn Fn() -> bool) -> Result<(), StageError> {
        let found = self.patiently(stopped, || self.get("models"));
        match found {
            Ok(list) => self.is_listed(&list).map_err(|why| Trouble::Wrong(why).error(&self.base)),
            // Some have no list; then a smallest request tells.
            Err(Trouble::Wrong(why)) if why.starts_with("status 404") || why.starts_with("status 405") => {
                let asked = self.complete("Hello", 2, stopped);
                asked.map(drop).map_err(|trouble| trouble.error(&self.base))
            }
            Err(trouble) => Err(trouble.error(&self.base)),
        }
    }

    fn is_listed(&self, list: &Value) -> Result<(), String> {
        let data = list["data"].as_array().or(list["models"].as_array()).or(list.as_array());
        let Some(data) = data else {
            return Err("GET /models gives no list: this is no OpenAI-compatible endpoint; base_url ends before \
                        /chat/completions, often with /v1"
                .into());
        };
        let id = |model: &Value| model["id"].as_str().or(model["name"].as_str()).map(str::to_string);
        let names: Vec<String> = data.iter().filter_map(id).collect();
        let model = &self.spec.model;
        // Ollama's list has the tag that is meant where none is said.
        if names.iter().any(|name| name == model || name.strip_suffix(":latest") == Some(model)) {
            return Ok(());
        }
        let shown: Vec<String> = names.iter().take(MOST_MODELS).map(|name| self.readable(name)).collect();
        let more =
            if names.len() > MOST_MODELS { format!(" and {} more", names.len() - MOST_MODELS) } else { String::new() };
        Err(format!("there is no model {model:?}; it has {}{more}", shown.join(", ")))
    }

    /// The body of an answer to a prompt about `candidates` candidates, which has `choices`; tried again where that may
    /// help.
    pub fn complete(&self, prompt: &str, candidates: usize, stopped: &dyn Fn() -> bool) -> Result<Value, Trouble> {
        self.patiently(stopped, || self.answer(prompt, candidates))
    }

    /// Tries until it works, is refused, or has been tried often enough.
    fn patiently(
        &self,
        stopped: &dyn Fn() -> bool,
        one: impl Fn() -> Result<Value, Trouble>,
    ) -> Result<Value, Trouble> {
        let mut wait = FIRST_WAIT;
        for attempt in 0.. {
            if stopped() {
                return Err(Trouble::Stopped);
            }
            let (why, asked) = match one() {
                Err(Trouble::Passing(why, asked)) => (why, asked),
                other => return other,
            };
            if attempt >= self.spec.retries {
                let tries = if attempt == 0 { "1 try".into() } else { format!("{} tries", attempt + 1) };
                return Err(Trouble::Failed(format!("{why} (after {tries})")));
            }
            let seconds = asked.unwrap_or(wait);
            if seconds > MOST_PATIENCE {
                return Err(Trouble::Failed(format!("{why}; it asks to wait {seconds:.0} seconds")));
            }
            tracing::debug!("{}: {why}; trying again in {seconds:.1} s", self.base);
            let until = Instant::now() + Duration::from_secs_f64(seconds);
            while Instant::now() < until {
                if stopped() {
                    return Err(Trouble::Stopped);
                }
                std::thread::sleep(LOOK.min(until.saturating_duration_since(Instant::now())));
            }
            wait = (2.0 * wait).min(LONGEST_WAIT);
        }
        Err(Trouble::Stopped)
    }

    fn answer(&self, prompt: &str, candidates: usize) -> Result<Value, Trouble> {
        // Every refusal takes one thing less, so that this ends.
        loop {
            let dialect = self.dialect();
            let said = match self.post("chat/completions", &self.body(prompt, candidates, dialect)) {
                Err(Trouble::Wrong(said)) => said,
                other => return other.and_then(is_completion),
            };
            match self.plainer(dialect, &said) {
                Some(plainer) => self.learn(dialect, plainer),
                None => return Err(Trouble::Wrong(said)),
            }
        }
    }

    fn dialect(&self) -> Dialect {
        *self.dialect.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Another request may have learned more meanwhile.
    fn learn(&self, before: Dialect, plainer: Dialect) {
        let mut known = self.dialect.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *known == before {
            tracing::debug!("{}: the endpoint refuses {before:?}; trying {plainer:?}", self.base);
            *known = plainer;
        }
    }

    fn body(&self, prompt: &str, candidates: usize, dialect: Dialect) -> Value {
        let mut body = json!({
            "model": self.spec.model,
            "messages": [{ "role": "user", "content": prompt }],
            "stream": false,
        });
        let most = if dialect.max_completion { "max_completion_tokens" } else { "max_tokens" };
        body[most] = self.spec.max_answer_tokens.into();
        if dialect.temperature {
            body["temperature"] = self.spec.temperature.into();
        }
        let schema = json!({
            "type": "object",
            "properties": { "best": { "type": "string", "enum": super::prompt::letters(candidates) } },
            "required": ["best"],
            "additionalProperties": false,
        });
        match dialect.format {
            Structured::Auto | Structured::JsonSchema => {
                let named = json!({ "name": "choice", "strict": true, "schema": schema });
                body["response_format"] = json!({ "type": "json_schema", "json_schema": named });
            }
            Structured::JsonObject => body["response_format"] = json!({ "type": "json_object", "schema": schema }),
            Structured::None => {}
        }
        body
    }

    /// What to say instead, where a request was refused for how it was said.
    fn plainer(&self, dialect: Dialect, said: &str) -> Option<Dialect> {
        if !["status 400", "status 422", "status 501"].iter().any(|status| said.starts_with(status)) {
            return None;
        }
        if said.contains("max_completion_tokens") && !dialect.max_completion {
            return Some(Dialect { max_completion: true, ..dialect });
        }
        if said.contains("temperature") && dialect.temperature {
            return Some(Dialect { temperature: false, ..dialect });
        }
        let format = match dialect.format {
            _ if self.spec.structured != Structured::Auto => return None,
            Structured::Auto | Structured::JsonSchema => Structured::JsonObject,
            Structured::JsonObject => Structured::None,
            Structured::None => return None,
        };
        Some(Dialect { format, ..dialect })
    }

    fn get(&self, path: &str) -> Result<Value, Trouble> {
        let mut request = self.agent.get(format!("{}/{path}", self.base));
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        self.read(request.call())
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value, Trouble> {
        let mut request = self.agent.post(format!("{}/{path}", self.base)).header("Content-Type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        self.read(request.send(body.to_string().as_bytes()))
    }

    /// A response with a good status, as JSON.
    fn read(&self, response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Value, Trouble> {
        let response = response.map_err(|e| match e {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::HostNotFound => {
                Trouble::Wrong(self.readable(&format!("nobody is found there: {e}; is labeler.judge.base_url right?")))
            }
            other => Trouble::Passing(self.readable(&other.to_string()), None),
        })?;
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_string);
        let (wait, location) = (header("retry-after").and_then(|v| v.trim().parse::<f64>().ok()), header("location"));
        let wait = wait.filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
        let mut bytes = Vec::new();
        let read = response.into_body().into_reader().take(MOST_BYTES + 1).read_to_end(&mut bytes);
        let text = self.without_key(&String::from_utf8_lossy(&bytes));
        if !(200..300).contains(&status) {
            return Err(self.refused(status, &text, wait, location));
        }
        if let Err(e) = read {
            return Err(Trouble::Passing(format!("the answer was cut short: {}", self.readable(&e.to_string())), None));
        }
        serde_json::from_str(&text)
            .map_err(|e| Trouble::Passing(format!("the answer is no JSON ({e}): {}", self.readable(&text)), None))
    }

    fn refused(&self, status: u16, text: &str, wait: Option<f64>, location: Option<String>) -> Trouble {
        let body: Value = serde_json::from_str(text).unwrap_or_default();
        let message = [&body["error"]["message"], &body["error"], &body["detail"], &body["message"]];
        let message = message.iter().find_map(|m| m.as_str().map(str::to_string)).unwrap_or_else(|| text.to_string());
        let said = format!("status {status}: {}", self.readable(&message));
        let spent = body["error"]["code"] == "insufficient_quota" || body["error"]["type"] == "insufficient_quota";
        let variable = match self.spec.key_env.as_str() {
            "" => "labeler.judge.key_env names the variable with the key".to_string(),
            name => format!("is {name} the key for this address?"),
        };
        match status {
            300..=399 => {
                let to = location.map_or_else(String::new, |to| format!(" to {}", self.readable(&to)));
                Trouble::Wrong(format!("{said}: it redirects{to}; give the new address as labeler.judge.base_url"))
            }
            401 | 403 => Trouble::Wrong(format!("{said}; {variable}")),
            404 | 405 => Trouble::Wrong(format!(
                "{said}; is labeler.judge.base_url right (it ends before /chat/completions), and the model {:?} there?",
                self.spec.model
            )),
            429 if spent => Trouble::Failed(said),
            408 | 409 | 425 | 429 | 500.. => Trouble::Passing(said, wait),
            _ => Trouble::Wrong(said),
        }
    }

    /// Without the key, should the endpoint repeat it.
    fn without_key(&self, text: &str) -> String {
        match &self.key {
            Some(key) => text.replace(key.as_str(), "***"),
            None => text.to_string(),
        }
    }

    /// The beginning of what an endpoint says, on one line.
    fn readable(&self, text: &str) -> String {
        let text = self.without_key(text);
        let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let words: Vec<&str> = plain.split_whitespace().collect();
        let mut line: String = words.join(" ").chars().take(MOST_SAID).collect();
        if line.is_empty() {
            line = "(nothing)".into();
        }
        line
    }
}

/// The key in an environment variable, which no message repeats.
fn key(name: &str) -> Result<String, StageError> {
    let wrong = |why: &str| {
        StageError::Input(format!(
            "labeler.judge.key_env: {name} {why}; put the endpoint's key into it, or set labeler.judge.key_env = \"\" for an \
             endpoint that wants none"
        ))
    };
    let key = std::env::var(name).map_err(|e| match e {
        std::env::VarError::NotPresent => wrong("is not set"),
        std::env::VarError::NotUnicode(_) => wrong("is no text"),
    })?;
    let key = key.trim().to_string();
    match key.as_str() {
        "" => Err(wrong("is empty")),
        k if !k.bytes().all(|b| b.is_ascii_graphic()) => Err(wrong("holds characters that no key has")),
        _ => Ok(key),
    }
}

/// An answer is kept and counted once it has `choices`, whatever is in them.
fn is_completion(body: Value) -> Result<Value, Trouble> {
    if body["choices"].is_array() {
        return Ok(body);
    }
    let said = body["error"]["message"].as_str().or(body["error"].as_str()).unwrap_or("there is no `choices` in it");
    let said: String = said.chars().take(MOST_SAID).map(|c| if c.is_control() { ' ' } else { c }).collect();
    Err(Trouble::Passing(format!("the answer is no chat completion: {said}"), None))
}
