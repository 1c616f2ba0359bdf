"""Every operation of the twins as mathematics defines it, in float64 and without a framework.

Where two frameworks disagree, this says which of them is off: a net in evaluation or in training
can be composed of these. ``*_vjp`` is the vector-Jacobian product of the function before it: from
``dy``, the gradient of a scalar with respect to the output, it computes those with respect to the
inputs. Floating-point arguments are widened to float64, which is exact. Images are (N, C, H, W).
"""

from parity.reference.operations.activations import relu as relu
from parity.reference.operations.activations import relu6 as relu6
from parity.reference.operations.activations import relu6_vjp as relu6_vjp
from parity.reference.operations.activations import relu_vjp as relu_vjp
from parity.reference.operations.activations import sigmoid as sigmoid
from parity.reference.operations.activations import sigmoid_vjp as sigmoid_vjp
from parity.reference.operations.activations import silu as silu
from parity.reference.operations.activations import silu_vjp as silu_vjp
from parity.reference.operations.arrays import Gradients as Gradients
from parity.reference.operations.batch_norm import Normalised as Normalised
from parity.reference.operations.batch_norm import batch_norm as batch_norm
from parity.reference.operations.batch_norm import batch_norm_training as batch_norm_training
from parity.reference.operations.batch_norm import (
    batch_norm_training_vjp as batch_norm_training_vjp,
)
from parity.reference.operations.batch_norm import batch_norm_vjp as batch_norm_vjp
from parity.reference.operations.branches import residual_sum as residual_sum
from parity.reference.operations.branches import scale as scale
from parity.reference.operations.branches import scale_vjp as scale_vjp
from parity.reference.operations.convolution import conv2d as conv2d
from parity.reference.operations.convolution import conv2d_vjp as conv2d_vjp
from parity.reference.operations.dense import dense as dense
from parity.reference.operations.dense import dense_vjp as dense_vjp
from parity.reference.operations.loss import cross_entropy as cross_entropy
from parity.reference.operations.loss import cross_entropy_vjp as cross_entropy_vjp
from parity.reference.operations.loss import log_softmax as log_softmax
from parity.reference.operations.loss import log_softmax_vjp as log_softmax_vjp
from parity.reference.operations.optimizers import Slots as Slots
from parity.reference.operations.optimizers import ema_step as ema_step
from parity.reference.operations.optimizers import rmsprop_step as rmsprop_step
from parity.reference.operations.optimizers import sgd_step as sgd_step
from parity.reference.operations.pooling import max_pool as max_pool
from parity.reference.operations.pooling import max_pool_vjp as max_pool_vjp
from parity.reference.operations.pooling import mean as mean
from parity.reference.operations.pooling import mean_vjp as mean_vjp
