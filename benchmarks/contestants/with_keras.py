"""Keras 3 on the torch backend, with the network of its own "Simple MNIST convnet".

Written by us from what is publicly known of it: conv 32, pool, conv 64, pool, dropout, one linear
layer; Adam, batches of 128, 15 epochs. It trains on all 60,000 images instead of nine tenths, and
the test split is used as validation data.
"""

import os

os.environ["KERAS_BACKEND"] = "torch"
os.environ["KERAS_TORCH_DEVICE"] = "cpu"

import keras
from keras import layers
from stopwatch import Stopwatch

watch = Stopwatch()
batch_size, epochs = watch.options.batch_size or 128, watch.options.epochs or 15
keras.utils.set_random_seed(watch.seed)
if watch.options.bfloat16:
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
train_images, train_targets, test_images, test_targets = watch.arrays()
train_images = train_images[..., None].astype("float32") / 255
test_images = test_images[..., None].astype("float32") / 255

model = keras.Sequential(
    [
        keras.Input((28, 28, 1)),
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(10, activation="softmax"),
    ]
)
rate = 0.001  # Adam's default
if watch.options.rate:  # rises linearly in the first third, then falls along a cosine
    steps = epochs * -(-len(train_images) // batch_size)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - steps // 3, warmup_target=watch.options.rate, warmup_steps=steps // 3
    )
model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
lap = keras.callbacks.LambdaCallback(
    on_epoch_end=lambda epoch, logs: "val_accuracy" in logs and watch.lap(logs["val_accuracy"])
)
model.fit(
    train_images,
    train_targets,
    batch_size=batch_size,
    epochs=epochs,
    validation_data=(test_images, test_targets),
    validation_freq=watch.interval(epochs),
    callbacks=[lap],
    verbose=0,
)
watch.finish()
