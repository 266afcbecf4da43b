//! What tests of a policy's training share: ρ and r of random weights and of the smallest size, and a task that cuts no
//! response.

use crate::context::Context;
use crate::model::gpt2::{Gpt2, ScalarHead, ScalarModel};
use crate::rl::rollout::Inputs;
use crate::rlhf::reward::Normalization;
use crate::spec::ModelSize;
use crate::task::scoring::Scorer;
use crate::task::{Query, Task};

const VOCABULARY: usize = 61;

pub struct World {
    reference: Gpt2,
    scorer: Scorer,
    task: Task,
}

impl World {
    pub fn new(context: &Context) -> Self {
        let size = ModelSize::Test.dimensions();
        let trunk = Gpt2::init(&size, VOCABULARY, 4, &context.device);
        let head = ScalarHead::init(size.width, 1.0, 5, &context.device);
        let normalization = Normalization { gain: 1.0, bias: 0.0 };
        Self {
            reference: Gpt2::init(&size, VOCABULARY, 3, &context.device),
            scorer: Scorer { source: ScalarModel { trunk, head }.into(), normalization },
            task: Task {
                truncates: vec![true; VOCABULARY],
                after: 7,
                missing_score: -1.0,
                prefix: Vec::new(),
                suffix: Vec::new(),
                formatted: true,
                query_length: 6,
            },
        }
    }

    /// `mock`: r is logged as r_s too.
    pub fn inputs<'a>(&'a self, queries: &'a [Query], mock: bool) -> Inputs<'a> {
        Inputs {
            reference: &self.reference,
            scorer: &self.scorer,
            mock: mock.then_some(&self.scorer),
            task: &self.task,
            queries,
            end_of_text: VOCABULARY as u32 - 1,
        }
    }
}
